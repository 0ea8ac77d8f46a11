// The sheet: what is shown, drawn as one comes to it.
const CHUNK = 60;
const sheet = $("sheet");
let view = "cards";
let drawn = 0;
let current = 0;

const draw = (count) => {
  const next = shown.slice(drawn, drawn + count).map((item, place) => card(item, drawn + place));
  cards.append(...next);
  drawn += next.length;
};

const drawOn = (count) => (view === "compare" ? drawRows(count) : draw(count));
const isWhole = () => (view === "compare" ? rowsDrawn >= rows.length : drawn >= shown.length);

// The observer speaks only when something changes, so it is asked anew after every chunk.
const watcher = new IntersectionObserver(([entry]) => {
  if (!entry.isIntersecting || isWhole()) return;
  drawOn(CHUNK);
  watchOn();
}, { rootMargin: "1200px" });

const watchOn = () => {
  watcher.unobserve(more);
  watcher.observe(more);
};

const show = (found) => {
  shown = found;
  drawn = current = 0;
  cards.replaceChildren();
  if (view === "compare") compare(CHUNK);
  else draw(CHUNK);
  tell();
};

const tell = () => {
  const [matches, all] = [shown.length, total].map((count) => count.toLocaleString("en"));
  const loading = isLoading() ? `, ${items.length.toLocaleString("en")} loaded so far` : "";
  const missing = pages.failed ? `; items from ${items.length + 1} on could not be loaded` : "";
  const beside = view === "compare" ? `; ${counted(rows.length, "prompt")} side by side` : "";
  $("nothing").hidden = (view === "compare" ? rows : shown).length > 0 || loading !== "";
  $("found").textContent = (shown.length === total ? `${all} items` : `${matches} of ${all}`) + beside + loading + missing;
};

const isLoading = () => items.length < total && !pages.failed;

const setView = (name) => {
  view = name === "compact" || (name === "compare" && comparable) ? name : "cards";
  cards.classList.toggle("compact", view === "compact");
  cards.hidden = view === "compare";
  $("compare").hidden = view !== "compare";
  for (const each of ["compact", "compare"]) $(`to-${each}`).setAttribute("aria-pressed", String(view === each));
};
