// What people keep and reject, by item and job: another job's picture has not been judged.
const RATINGS = { kept: ["keep", "Keep", "K"], rejected: ["reject", "Reject", "R"] };
const UNRATED = "unrated";
const ratings = new Map();
const ratingOf = (item) => ratings.get(item.item) || "";
const rated = (rating) => items.filter((item) => ratingOf(item) === rating);
const placeOf = (item) => `prefect-imagine/rating/${pages.batch}/${item.item}/${item.id}`;

// Storage is refused to some pages that are opened as files, and may be full.
let storage = null;
const stored = (use) => {
  try {
    return use(storage);
  } catch {
    storage = null;
    return null;
  }
};
stored(() => {
  localStorage.setItem("prefect-imagine/probe", "");
  localStorage.removeItem("prefect-imagine/probe");
  storage = localStorage;
});

const recall = (item) => {
  const known = storage && stored(() => storage.getItem(placeOf(item)));
  if (known && Object.hasOwn(RATINGS, known)) ratings.set(item.item, known);
};

const rate = (item, rating) => {
  const before = ratingOf(item);
  const now = before === rating ? "" : rating;
  if (now === before) return;
  if (now) ratings.set(item.item, now);
  else ratings.delete(item.item);
  if (storage) stored(() => (now ? storage.setItem(placeOf(item), now) : storage.removeItem(placeOf(item))));
  count("rating", before || UNRATED, -1);
  count("rating", now || UNRATED, 1);
  offer("rating");
  for (const host of document.querySelectorAll("[data-item]")) if (host.dataset.item === item.item) mark(host, now);
  tellRatings();
};

const mark = (host, rating) => {
  host.dataset.rating = rating;
  for (const each of host.querySelectorAll("[data-rates]")) each.setAttribute("aria-pressed", String(each.dataset.rates === rating));
};

const tellRatings = () => {
  const [kept, rejected] = Object.keys(RATINGS).map((rating) => facets.get("rating").get(rating) || 0);
  $("rated").textContent = kept + rejected ? `${kept.toLocaleString("en")} kept, ${rejected.toLocaleString("en")} rejected` : "";
  $("unkept").hidden = Boolean(storage) || !(kept + rejected);
};

const raters = (item, tabindex) =>
  make("div", { class: "raters", role: "group", "aria-label": `Rate item ${item.index}` },
    ...Object.entries(RATINGS).map(([rating, [name, says, key]]) =>
      button({
        class: `rater ${name}`, tabindex, "data-rates": rating, "aria-pressed": String(ratingOf(item) === rating),
        "aria-label": `${says} item ${item.index}`, title: `${says} (${key})`, on: { click: () => rate(item, rating) },
      }, icon(name))));

// They work where an item has the focus, and nowhere else.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const host = event.target.closest("[data-item]");
  const key = event.key.toUpperCase();
  const rating = key === "U" ? "" : Object.keys(RATINGS).find((each) => RATINGS[each][2] === key);
  const item = host && rating !== undefined && items.find((each) => each.item === host.dataset.item);
  if (item) rate(item, rating);
});
