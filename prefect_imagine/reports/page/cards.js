// One item as a card of the sheet.
const costs = (item) => {
  const list = make("span", { class: "costs" });
  for (const [name, value] of item.costs) {
    list.append(make("span", { class: `cost ${name.replace(" ", "-")}` }, value && make("b", { text: value }), make("small", { text: name })));
  }
  return list;
};

const chips = (labels) => labels.length > 0 && make("ul", { class: "chips" }, ...labels.map((text) => make("li", { text })));
const classOf = (item) => item.status.replace(" ", "-");
const stateOf = (item) => {
  if (item.status === item.phase) return item.status;
  return item.status === "failed" ? "failed for now" : `${item.status} (${item.phase})`;
};

const prompt = (item) => {
  const text = make("p", { class: "prompt", text: item.prompt });
  if (item.prompt.length < 110 && item.prompt.split("\n").length < 4) return [text];
  const expand = button({ class: "expand", "aria-expanded": "false", text: "more" });
  expand.addEventListener("click", () => {
    const open = text.classList.toggle("open");
    expand.setAttribute("aria-expanded", String(open));
    expand.textContent = open ? "less" : "more";
  });
  return [text, expand];
};

const heading = (item, output = item.outputs[0]) => [
  make("span", { class: "index", text: String(item.index) }),
  item.name ? make("span", { class: "name", text: item.name }) : make("span", { class: "name of-file", text: output ? fileOf(output) : "" }),
];

const card = (item, place) =>
  make("li", {},
    make("article", {
      class: `card ${classOf(item)}`, tabindex: place === current ? "0" : "-1",
      "aria-label": `Item ${item.index}, ${titleOf(item)}, ${item.status}`,
      "data-item": item.item, "data-rating": ratingOf(item),
    },
      media(item),
      make("div", { class: "body" },
        make("div", { class: "head" }, make("h3", {}, ...heading(item)), raters(item, "-1")),
        ...prompt(item),
        make("p", { class: "meta" }, make("span", { text: item.provider }), make("span", { text: item.kind }), make("span", { text: modelOf(item) })),
        chips(labelsOf(item)),
        make("div", { class: "foot" }, make("span", { class: `state ${classOf(item)}`, text: stateOf(item) }), costs(item)),
        item.reason && make("p", { class: "why" }, make("b", { text: item.reason }), item.error && ` ${item.error}`))));
