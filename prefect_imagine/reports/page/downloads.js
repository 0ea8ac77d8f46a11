// Files of many items. A browser saves only what comes from the page's own server, and not all at once.
const MOST_FILES = 200;
const BETWEEN = 400;  // milliseconds: of files that are asked for at once Chromium saves ten

// Where a file lies as a browser sees it: with the page, elsewhere, or in the folder that the page was opened from.
const reach = (output) => {
  const { protocol, origin } = new URL(output.href, document.baseURI);
  if (protocol === "file:") return "folder";
  return origin === location.origin ? "here" : "elsewhere";
};

const filesOf = (chosen) => chosen.flatMap((item) => item.outputs.filter((output) => output.href));

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const nameOf = (output) => fileOf(output) || "output";
const absolute = (output) => new URL(output.href, document.baseURI);
const pathOf = (output) => decodeURIComponent(absolute(output).pathname);

const LISTS = {
  addresses: ["Copy addresses", (output) => absolute(output).href],
  paths: ["Copy paths", pathOf],
  cp: ["Copy as cp commands", (output) => `cp ${quoted(pathOf(output))} ${quoted(`./${nameOf(output)}`)}`],
  curl: ["Copy as curl commands", (output) => `curl -fL -o ${quoted(`./${nameOf(output)}`)} ${quoted(absolute(output).href)}`],
  aws: ["Copy as aws s3 cp commands", (output) => `aws s3 cp ${quoted(addressOf(output))} ${quoted(`./${nameOf(output)}`)}`],
};
const fileList = (name, files) => files.map((output) => `${LISTS[name][1](output)}\n`).join("");

const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

const save = (href, name) => make("a", { href, download: name }).click();

const saveText = (text, name, type) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  save(address, name);
  setTimeout(() => URL.revokeObjectURL(address), 60000);
};

// Resolves with how many were saved.
const saveAll = async (files, tell, stopped) => {
  for (const [place, output] of files.entries()) {
    if (place) await pause(BETWEEN);
    if (stopped()) return place;
    save(output.href, nameOf(output));
    tell(place + 1);
  }
  return files.length;
};

// Without a secure context there is no clipboard but this old one, which takes what is selected.
const copy = async (text, host) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "sr", "aria-hidden": "true" });
    area.value = text;
    const before = document.activeElement;
    host.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return copied;
  }
};
