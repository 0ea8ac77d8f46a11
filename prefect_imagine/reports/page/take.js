// The dialog in which lists, prompts and files are taken away.
const FILES = {
  here: ["The browser may ask once whether this page may save several files.", ["addresses", "curl"]],
  folder: ["They lie beside this page on this computer; a page that was opened as a file cannot save copies.", ["paths", "cp"]],
  elsewhere: ["They are on another server than this page: the browser would open them instead of saving them. Signed addresses expire.", ["addresses", "curl"]],
};

const fine = (text) => make("p", { class: "fine", text });
const acts = (...children) => make("div", { class: "acts" }, ...children);
const act = (text, click) => button({ class: "quiet", text, on: { click } });

const scopesOf = (item) => [
  ...(item ? [["item", "This item", [item]]] : []),
  ["kept", "What is kept", rated("kept")],
  ["shown", "What the filter shows", shown],
];

const scopeChoice = (scopes, change) => {
  const first = scopes.find(([, , of]) => of.length);
  return make("fieldset", {}, make("legend", { class: "sr", text: "Which items" }), ...scopes.map((scope) => {
    const [name, says, of] = scope;
    const choice = make("input", { type: "radio", name: "scope", value: name, disabled: !of.length, checked: scope === first });
    choice.addEventListener("change", () => change(of));
    return make("label", {}, choice, ` ${says} `, make("b", { text: of.length.toLocaleString("en") }));
  }));
};

// Saves one file after the other until all are saved, or the signal says no more.
const saver = (found, say, signal) => {
  const all = counted(found.length, "file");
  let stopped = false;
  const stop = act("Stop", () => { stopped = true; });
  const start = act(`Download ${all}`, async () => {
    stopped = false;
    start.replaceWith(stop);
    stop.focus();
    const saved = await saveAll(found, (done) => say(`Saving: ${done} of ${all}.`), () => stopped || signal.aborted);
    if (signal.aborted) return;
    stop.replaceWith(start);
    start.focus();
    say(`Downloaded: ${saved} of ${all}.`);
  });
  return start;
};

const filePart = (found, say, copied, signal) => {
  if (!found.length) return [fine("There are none.")];
  const places = new Set(found.map(reach));
  const place = ["elsewhere", "folder", "here"].find((each) => places.has(each));
  const [says, lists] = FILES[place];
  const saving = place === "here" && found.length <= MOST_FILES;
  const bound = place === "here" && !saving ? `These are ${found.length.toLocaleString("en")}; a browser takes ${MOST_FILES} at once: take a list. ` : "";
  return [
    fine(bound || says),
    acts(saving && saver(found, say, signal), ...[...lists, pages.address && "aws"].filter(Boolean).map((name) =>
      act(LISTS[name][0], () => copied(fileList(name, found), `${counted(found.length, "line")}`)))),
  ];
};

const openTake = (item) => {
  const scopes = scopesOf(item);
  const status = make("p", { class: "fine", role: "status" });
  const parts = make("div", {});
  const dialog = make("dialog", { class: "take", "aria-labelledby": "take-title" });
  const say = (text) => { status.textContent = text; };
  const copied = async (text, what) =>
    say((await copy(text, dialog)) ? `Copied: ${what}.` : "This browser does not let a page copy: download it instead.");
  let running = new AbortController();

  const fill = (chosen) => {
    running.abort();
    running = new AbortController();
    say("");
    const seeds = make("input", { type: "checkbox", checked: true });
    const items = counted(chosen.length, "item");
    const saved = (text, name, type, what) => {
      saveText(text, `${pages.batch}-${name}`, type);
      say(`Downloaded: ${what}.`);
    };
    const again = (then) => () => {
      const { text, rows, left } = againCsv(chosen, seeds.checked);
      then(text, counted(rows, "row") + (left ? `; ${counted(left, "item")} left out that a prompts file cannot hold` : ""));
    };
    parts.replaceChildren(...(chosen.length ? [
      make("h3", { text: "List" }),
      fine("Batch, index, item, name, prompt, provider, kind, model, rating, and each file with its sha256."),
      acts(
        act("Copy CSV", () => copied(listCsv(chosen), items)), act("Download CSV", () => saved(listCsv(chosen), "list.csv", "text/csv", items)),
        act("Copy JSON", () => copied(listJson(chosen), items)), act("Download JSON", () => saved(listJson(chosen), "list.json", "application/json", items))),
      make("h3", { text: "The same again" }),
      fine("Rows of a prompts file. prefect-imagine generate makes them, and pays for them, again."),
      acts(
        act("Copy prompts", again(copied)), act("Download prompts", again((text, what) => saved(text, "again.csv", "text/csv", what))),
        make("label", {}, seeds, " with their seeds")),
      make("h3", { text: "Files" }),
      ...filePart(filesOf(chosen), say, copied, running.signal),
    ] : [fine("There are no items to export.")]));
  };

  dialog.append(
    make("div", { class: "bar-top" }, make("h2", { id: "take-title", text: "Export" }),
      button({ class: "quiet", text: "Close", on: { click: () => dialog.close() } })),
    scopeChoice(scopes, fill),
    ...(items.length < total ? [fine(`Of ${counted(total, "item")} ${items.length.toLocaleString("en")} are loaded; the others are not among these.`)] : []),
    parts, status);
  dialog.addEventListener("close", () => {
    running.abort();
    dialog.remove();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  fill((scopes.find(([, , of]) => of.length) ?? scopes[0])[2]);
  document.body.append(dialog);
  dialog.showModal();
};
