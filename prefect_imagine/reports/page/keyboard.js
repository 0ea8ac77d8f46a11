// The sheet by keyboard and by mouse.
const focusCard = (place) => {
  if (view === "compare") return focusCell(shown[place]);
  if (place < 0 || place >= shown.length) return;
  if (place >= drawn) draw(place - drawn + CHUNK);
  const articleAt = (at) => cards.children[at].firstElementChild;
  if (current < drawn) articleAt(current).tabIndex = -1;
  current = place;
  articleAt(place).tabIndex = 0;
  articleAt(place).focus();
};

const moves = () => {
  const columns = getComputedStyle(cards).gridTemplateColumns.split(" ").length;
  return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
};

cards.addEventListener("keydown", (event) => {
  if (!event.target.matches(".card, .tile:is(button), .rater")) return;
  const step = moves()[event.key];
  if (step) focusCard(current + step);
  else if (event.key === "Home") focusCard(0);
  else if (event.key === "End") focusCard(shown.length - 1);
  else if (event.key === "Enter" && event.target.matches(".card")) openBox(shown[current], 0);
  else return;
  event.preventDefault();
});
cards.addEventListener("click", (event) => {
  if (event.target.closest("a, button, audio, video") || !getSelection().isCollapsed) return;
  const place = [...cards.children].indexOf(event.target.closest("li"));
  if (place >= 0) openBox(shown[place], 0);
});
cards.addEventListener("focusin", (event) => {
  const place = [...cards.children].indexOf(event.target.closest("li"));
  if (place < 0 || place === current) return;
  cards.children[current].firstElementChild.tabIndex = -1;
  current = place;
  cards.children[place].firstElementChild.tabIndex = 0;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  form.q.focus();
  form.q.select();
});
form.q.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && shown.length) {
    event.preventDefault();
    if (view === "compare") $("compare").querySelector("button")?.focus();
    else focusCard(0);
  }
});
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio, video")) if (other !== event.target) other.pause();
}, true);
