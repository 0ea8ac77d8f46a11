// Lists of items as text: what they are, and rows that ask for the same again.
// Also what other separators of spreadsheets would cut.
const csvCell = (text) => (/[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const csvOf = (columns, lines) =>
  [columns, ...lines].map((line) => `${line.map((cell) => csvCell(String(cell))).join(",")}\r\n`).join("");

const addressOf = (output) => {
  if (pages.address && output.key) return `${pages.address}/${output.key}`;
  return output.href ? new URL(output.href, document.baseURI).href : "";
};

const listOf = (chosen) => chosen.map((item) => ({
  batch: pages.batch, index: item.index, item: item.item, name: item.name, prompt: item.prompt, provider: item.provider,
  kind: item.kind, model: item.model, rating: ratingOf(item), status: item.status, job: item.id,
  outputs: item.outputs.map((output) => ({ key: output.key, address: addressOf(output), sha256: output.sha256 })),
}));

const listJson = (chosen) => `${JSON.stringify(listOf(chosen), null, 2)}\n`;

// People open this one in a spreadsheet, which would run a text of this kind; the list as JSON has it unaltered.
const harmless = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);

const listCsv = (chosen) => {
  const [ofItem, ofOutput] = [
    ["batch", "index", "item", "name", "prompt", "provider", "kind", "model", "rating", "status", "job"], ["key", "address", "sha256"],
  ];
  const lines = listOf(chosen).flatMap((item) => (item.outputs.length ? item.outputs : [{}]).map((output) =>
    [...ofItem.map((name) => item[name]), ...ofOutput.map((name) => output[name] ?? "")].map(harmless)));
  return csvOf([...ofItem, ...ofOutput], lines);
};

const MOST_OF_ONE = 1000;  // what a row's `count` may be
const FIRST_COLUMNS = ["prompt", "provider", "kind", "model", "count", "name", "seed", "negative_prompt", "aspect_ratio", "duration"];
const isSeed = (column) => column === "seed" || column === "settings.seed";

// In a prompts file braces are a template's, and what is empty is not there.
const rowOf = (item, seeds) => new Map([
  ["prompt", item.prompt.replace(/[{}]/g, "$&$&")], ["provider", item.provider], ["kind", item.kind], ["model", item.model], ["name", item.name],
  ...item.labels.map(([name, value]) => [`labels.${name}`, value]),
  ...item.settings.filter(([column]) => seeds || !isSeed(column)),
].filter(([, cell]) => cell !== ""));

// A file with zero bytes is no text for whoever reads it.
const isText = (row) => ![...row].some((pair) => pair.join("").includes("\0"));

const againCsv = (chosen, seeds) => {
  const counts = new Map();
  let left = 0;
  for (const item of chosen) {
    const row = rowOf(item, seeds);
    if (!isText(row)) {
      left += 1;
      continue;
    }
    const key = JSON.stringify([...row]);
    const known = counts.get(key) || { row, count: 0 };
    known.count += 1;
    counts.set(key, known);
  }
  const lines = [];
  for (const { row, count } of counts.values()) {
    for (let rest = count; rest > 0; rest -= MOST_OF_ONE) {
      lines.push(rest > 1 ? new Map([...row, ["count", Math.min(rest, MOST_OF_ONE)]]) : row);
    }
  }
  const used = new Set(lines.flatMap((line) => [...line.keys()]));
  const further = [...used].filter((column) => !FIRST_COLUMNS.includes(column)).sort();
  const columns = [...FIRST_COLUMNS.filter((column) => used.has(column) || column === "prompt"), ...further];
  return { text: csvOf(columns, lines.map((line) => columns.map((column) => line.get(column) ?? ""))), rows: lines.length, left };
};
