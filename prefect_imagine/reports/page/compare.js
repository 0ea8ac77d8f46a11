// The same prompt by several providers, kinds or models, side by side: offered where a batch has such prompts.
const byPrompt = new Map();  // its only column, or `true` where there are several
let comparable = false;
let rows = [];
let columns = [];
let rowsDrawn = 0;

const columnOf = (item) => JSON.stringify([item.provider, item.kind, modelOf(item)]);

const noteComparable = (item) => {
  const [known, column] = [byPrompt.get(item.prompt), columnOf(item)];
  if (known === undefined) byPrompt.set(item.prompt, column);
  else if (known !== true && known !== column) {
    byPrompt.set(item.prompt, true);
    comparable = true;
  }
};

const compare = (count) => {
  const groups = new Map();
  const used = new Set();
  for (const item of shown) {
    if (byPrompt.get(item.prompt) !== true) continue;
    const column = columnOf(item);
    const row = groups.get(item.prompt) ?? groups.set(item.prompt, new Map()).get(item.prompt);
    if (row.has(column)) row.get(column).push(item);
    else row.set(column, [item]);
    used.add(column);
  }
  rows = [...groups];
  columns = [...used].sort();
  rowsDrawn = 0;
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "Prompt" }), ...columns.map(columnHead))), make("tbody"));
  $("compare").replaceChildren(...(rows.length ? [table] : []));
  drawRows(count);
};

const columnHead = (column) => {
  const [provider, kind, model] = JSON.parse(column);
  return make("th", { scope: "col" }, make("b", { text: provider }), make("span", { text: `${kind} · ${model}` }));
};

const drawRows = (count) => {
  const body = $("compare").querySelector("tbody");
  for (const [text, row] of rows.slice(rowsDrawn, rowsDrawn + count)) {
    const cells = columns.map((column) => make("td", {}, ...(row.get(column) ?? []).map(compared)));
    body.append(make("tr", {}, make("th", { scope: "row" }, make("p", { class: "prompt", text })), ...cells));
  }
  rowsDrawn = Math.min(rows.length, rowsDrawn + count);
};

const compared = (item) => {
  const shows = media(item);
  for (const each of shows.querySelectorAll("[tabindex='-1']")) each.removeAttribute("tabindex");
  return make("article", { class: `cell ${classOf(item)}`, "aria-label": `Item ${item.index}, ${titleOf(item)}, ${item.status}`, "data-item": item.item, "data-rating": ratingOf(item) },
    shows,
    make("div", { class: "head" },
      button({ class: "expand index", "aria-label": `Open item ${item.index}`, text: String(item.index), on: { click: () => openBox(item, 0) } }),
      make("span", { class: "seconds", text: item.seconds === null ? "" : `${item.seconds.toLocaleString("en")} s` }),
      raters(item)),
    make("p", { class: "meta", text: `${item.provider} · ${modelOf(item)}` }),
    costs(item));
};

const focusCell = (item) => {
  const host = [...$("compare").querySelectorAll("[data-item]")].find((each) => each.dataset.item === item?.item);
  host?.querySelector(".index").focus();
};
