// One item, large.
const fullPicture = (item, output) => {
  const image = picture(output, output.href, titleOf(item, output), false);
  if (output.thumbnail) {
    image.style.background = `center / contain no-repeat url(${JSON.stringify(output.thumbnail)})`;
    image.addEventListener("load", () => { image.style.background = ""; });
  }
  return image;
};

const large = (item, output) => {
  if (!output) return media(item);
  if (output.as === "image" && output.href) return fullPicture(item, output);
  if (["video", "audio"].includes(output.as) && output.href) return player(output.as, output, "metadata");
  if (output.text) return make("pre", { text: output.text });
  return placeholder(output, output.media);
};

const listed = (pairs) => {
  const list = make("dl", {});
  for (const [name, value] of pairs) if (value) list.append(make("dt", { text: name }), make("dd", { text: value }));
  return list;
};

const pageTitle = document.title;

const facts = (item) => [
  ["Provider", item.provider], ["Kind", item.kind], ["Model", modelOf(item)], ["Labels", labelsOf(item).join("\n")],
  ["Job", item.id], ["Attempts", item.attempts > 1 ? String(item.attempts) : ""],
  ["Refused before by", (item.before || []).join("\n")], ...item.times,
];

const strip = (item, place) =>
  item.outputs.length > 1 && make("div", { class: "strip" }, ...item.outputs.map((output, at) =>
    button({ "aria-label": `Output ${at + 1}`, "aria-current": at === place && "true", on: { click: () => openBox(item, at) } },
      small(output) ? picture(output, small(output), "", true) : icon(output.as))));

const fillBox = (item, place) => {
  const output = item.outputs[place];
  const at = shown.indexOf(item);
  const step = (by, text, label) =>
    button({ class: "quiet", "aria-label": label, disabled: !shown[at + by] || at < 0, text, on: { click: () => turn(by) } });
  box.replaceChildren(
    make("div", { class: "stage" }, large(item, output), strip(item, place)),
    make("div", { class: "side" },
      make("div", { class: "bar-top" }, step(-1, "←", "Previous item"), step(1, "→", "Next item"),
        make("span", { class: "dim", text: at < 0 ? "" : `${at + 1} of ${shown.length}` }),
        button({ class: "quiet", autofocus: true, text: "Close", on: { click: () => box.close() } })),
      make("div", { class: "head" }, make("h2", {}, ...heading(item, output)), raters(item)),
      make("p", { class: "prompt open", text: item.prompt }),
      make("div", { class: "foot" }, make("span", { class: `state ${classOf(item)}`, text: stateOf(item) }), costs(item)),
      item.reason && make("p", { class: "why" }, make("b", { text: item.reason }), item.error && ` ${item.error}`),
      listed(facts(item)),
      item.settings.length > 0 && make("h3", { text: "Settings" }),
      listed(item.settings.map(([column, cell]) => [column.replace(/^settings\./, ""), cell])),
      output && make("h3", { text: "Output" }),
      output && make("p", { class: "file" }, link(output, fileOf(output) || "Open"),
        output.href && reach(output) === "here" && make("a", { href: output.href, download: fileOf(output), text: "Download" })),
      output && listed([["Type", output.media], ["Size", output.size], ["sha256", output.sha256]]),
      make("p", {}, button({ class: "quiet", text: "Export…", on: { click: () => openTake(item) } }))));
  box.dataset.item = item.item;
  mark(box, ratingOf(item));
  document.title = `${titleOf(item, output)} · ${pageTitle}`;
};

function openBox(item, place) {
  opened = item;
  // Filling the dialog removes the button that had the focus; without one the arrow keys would be lost.
  const label = document.activeElement?.getAttribute("aria-label");
  fillBox(item, place);
  if (box.open) {
    const same = [...box.querySelectorAll("button:enabled")].find((button) => button.getAttribute("aria-label") === label);
    (same || box).focus();
  } else {
    box.showModal();
  }
  writeHash();
}

function turn(by) {
  const next = shown[shown.indexOf(opened) + by];
  if (next && shown.includes(opened)) openBox(next, 0);
}

box.addEventListener("keydown", (event) => {
  if (event.target.matches("audio, video, pre")) return;
  if (event.key === "ArrowLeft") turn(-1);
  if (event.key === "ArrowRight") turn(1);
});
box.addEventListener("click", (event) => event.target === box && box.close());
box.addEventListener("close", () => {
  if (box.open) return;  // the event comes late, and the next item may be there already
  const place = shown.indexOf(opened);
  opened = null;
  delete box.dataset.item;
  document.title = pageTitle;
  box.replaceChildren();
  writeHash();
  focusCard(place);
});

