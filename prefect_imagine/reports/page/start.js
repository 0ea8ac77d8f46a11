// What happens when the page opens.
const FILM = 9;
const THEMES = { auto: "light dark", light: "light", dark: "dark" };
const remembered = (theme) => {
  // Storage is refused to some pages that are opened as files.
  try {
    if (theme) localStorage.setItem("theme", theme);
    return localStorage.getItem("theme");
  } catch {
    return theme;
  }
};
const fillFilm = () => {
  const pictures = items.flatMap((item) => {
    const place = item.outputs.findIndex((output) => output.as === "image" && small(output));
    return place < 0 ? [] : [[item, place]];
  });
  const step = Math.max(1, pictures.length / FILM);
  for (let at = 0; at < pictures.length; at += step) {
    const [item, place] = pictures[Math.floor(at)];
    $("film").append(tile(item, item.outputs[place], place, 0));
  }
  $("film").hidden = pictures.length < 4;
};
const setTheme = (theme) => {
  document.documentElement.style.colorScheme = THEMES[theme];
  $("theme").dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
};
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf($("theme").dataset.theme) + 1) % names.length];
  remembered(next);
  setTheme(next);
});
setTheme(Object.hasOwn(THEMES, remembered() || "") ? remembered() : "auto");
addEventListener("beforeprint", () => {
  drawOn(shown.length);
  for (const details of document.querySelectorAll("details")) details.open = true;
});

add(JSON.parse($("items").textContent));
$("theme").hidden = false;
$("keys").hidden = form.hidden = items.length === 0;
document.querySelectorAll("[data-chart]").forEach(readable);
fillFilm();
readHash();
watchOn();
window.imagineItems = addPage;
// Scripts that are asked for before would hold up the page's own end of loading.
addEventListener("load", () => setTimeout(loadMore));
