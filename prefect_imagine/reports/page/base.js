// What all parts of the page's script use. They share one scope, and "start.js" comes last.
const FACETS = ["status", "provider", "kind", "model", "label", "reason", "rating"];
const $ = (id) => document.getElementById(id);
const pages = JSON.parse($("pages").textContent);
const total = pages.items;
const items = [];
const [form, cards, box, more] = ["filters", "cards", "box", "more"].map($);

let shown = [];
let opened = null;

const make = (tag, { on = {}, text, ...attributes } = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== "" && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  for (const [name, handler] of Object.entries(on)) element.addEventListener(name, handler);
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter(Boolean));
  return element;
};

const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
};

const button = (attributes, ...children) => make("button", { type: "button", ...attributes }, ...children);
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const fileOf = (output) => output.key.slice(output.key.lastIndexOf("/") + 1);
const modelOf = (item) => item.model || "default";
const labelsOf = (item) => item.labels.map(([name, value]) => `${name}=${value}`);

// The prompts file's name of it, else the stored file's.
const titleOf = (item, output = item.outputs[0]) =>
  item.name || (output && fileOf(output)) || item.prompt.trim().split(/\s+/).slice(0, 9).join(" ");
