// Narrowing what is shown; the page's address says how.
const haystacks = [];
const facets = new Map(FACETS.map((facet) => [facet, new Map()]));
const selects = new Map(FACETS.map((facet) => [facet, make("select", { name: facet, "aria-label": facet })]));
const MANY = { reason: 0, label: 0 };

const valuesOf = (item, facet) => {
  if (facet === "label") return labelsOf(item);
  if (facet === "model") return [modelOf(item)];
  if (facet === "rating") return [ratingOf(item) || UNRATED];
  return item[facet] ? [item[facet]] : [];
};

const count = (facet, value, by) => {
  const counts = facets.get(facet);
  const now = (counts.get(value) || 0) + by;
  if (now) counts.set(value, now);
  else counts.delete(value);
};

const offer = (...names) => {
  for (const [facet, select] of selects) {
    if (names.length && !names.includes(facet)) continue;
    const [chosen, counts] = [select.value, facets.get(facet)];
    const values = [...counts].sort();
    // What is chosen stays, also where nothing is so any more.
    if (facet === "rating" && chosen && !counts.has(chosen)) values.push([chosen, 0]);
    select.replaceChildren(new Option(`Any ${facet}`, ""));
    for (const [value, number] of values) select.append(new Option(`${value} (${number.toLocaleString("en")})`, value));
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
  }
  const useful = [...selects].filter(([facet, select]) => select.value || facets.get(facet).size > (MANY[facet] ?? 1));
  const wanted = useful.map(([, select]) => select);
  const there = [...$("selects").children];
  if (wanted.length !== there.length || wanted.some((select, place) => select !== there[place])) $("selects").replaceChildren(...wanted);
};

const haystack = (item) =>
  [item.index, titleOf(item), item.prompt, item.provider, item.kind, modelOf(item), item.status, item.reason, item.error, item.id,
    ...labelsOf(item), ...item.outputs.map((output) => output.text)].join("\n").toLowerCase();

const add = (loaded) => {
  for (const item of loaded) {
    items.push(item);
    recall(item);
    haystacks.push(haystack(item));
    for (const facet of FACETS) for (const value of valuesOf(item, facet)) count(facet, value, 1);
    noteComparable(item);
  }
  $("to-compare").hidden = !comparable;
  offer();
  tellRatings();
};

const found = (from) => {
  const words = form.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = [...selects].filter(([, select]) => select.value);
  for (const select of selects.values()) select.classList.toggle("set", select.value !== "");
  $("clear").hidden = !words.length && !wanted.length;
  return items.slice(from).filter((item, place) =>
    wanted.every(([facet, select]) => valuesOf(item, facet).includes(select.value)) &&
    words.every((word) => haystacks[from + place].includes(word)));
};

const filter = () => show(found(0));

// Whether the address asks for something that has only come with the last rows.
const isAsked = () => {
  const hash = new URLSearchParams(location.hash.slice(1));
  const offers = (select, value) => select.value !== value && [...select.options].some((option) => option.value === value);
  return hash.has("item") || [...selects].some(([facet, select]) => hash.get(facet) && offers(select, hash.get(facet)))
    || (hash.get("view") === "compare" && view !== "compare" && comparable);
};

// A page opened from a file may load scripts, and nothing else: each of these calls `imagineItems` with its rows.
const loadMore = () => {
  if (!pages.addresses.length) return;
  const script = make("script", { src: pages.addresses.shift() });
  script.addEventListener("load", () => {
    script.remove();
    loadMore();
  });
  script.addEventListener("error", () => {
    pages.failed = true;
    tell();
  });
  document.head.append(script);
};

const addPage = (loaded) => {
  const before = items.length;
  add(loaded);
  if (!opened && isAsked()) readHash();
  else {
    shown = shown.concat(found(before));
    if (view === "compare") compare(Math.max(rowsDrawn, CHUNK));
    tell();
  }
  watchOn();
};

const writeHash = () => {
  const hash = new URLSearchParams();
  if (form.q.value.trim()) hash.set("q", form.q.value.trim());
  for (const [facet, select] of selects) if (select.value) hash.set(facet, select.value);
  if (view !== "cards") hash.set("view", view);
  if (opened) hash.set("item", opened.index);
  history.replaceState(null, "", `#${hash}`);
};

const readHash = () => {
  const hash = new URLSearchParams(location.hash.slice(1));
  form.q.value = hash.get("q") || "";
  for (const [facet, select] of selects) {
    select.value = hash.get(facet) || "";
    if (select.selectedIndex < 0) select.value = "";
  }
  setView(hash.get("view") || "cards");
  filter();
  const item = hash.has("item") && items.find((known) => String(known.index) === hash.get("item"));
  if (item) openBox(item, 0);
  else if (box.open) box.close();
};

let waiting = 0;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { filter(); writeHash(); }, 80);
});
$("clear").addEventListener("click", () => {
  form.reset();
  filter();
  writeHash();
  form.q.focus();
});
for (const name of ["compact", "compare"]) {
  $(`to-${name}`).addEventListener("click", () => {
    setView(view === name ? "cards" : name);
    filter();
    writeHash();
  });
}
$("to-take").addEventListener("click", () => openTake());
addEventListener("hashchange", () => {
  if (location.hash && !location.hash.includes("=")) return;
  readHash();
  if (!opened) sheet.scrollIntoView();
});
