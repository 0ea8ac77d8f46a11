// Pictures, players and texts of the items, small.
const iconOf = (kind) => ({ voice: "audio", music: "audio", infographic: "image" })[kind] || kind;
const small = (output) => output.thumbnail || (output.as === "image" && !output.heavy && output.href) || "";
const link = (output, text) =>
  output.href
    ? make("a", { href: output.href, target: "_blank", rel: "noopener noreferrer", text })
    : make("span", { text: fileOf(output) || text });

const placeholder = (output, says) =>
  make("div", { class: "stand-in" }, icon(output.as), says && make("span", { text: says }), link(output, "Open file"));

const picture = (output, source, alt, lazy) => {
  const image = make("img", { alt, decoding: "async", loading: lazy && "lazy" });
  image.addEventListener("error", () => {
    const whole = small({ ...output, thumbnail: "" });
    if (whole && image.getAttribute("src") !== whole) {
      image.src = whole;
      return;
    }
    const host = image.closest("button") || image;
    host.replaceWith(placeholder(output, output.media || "no picture"));
  });
  image.src = source;
  return image;
};

const player = (tag, output, preload) => {
  const element = make(tag, {
    controls: true, preload, src: output.href, "aria-label": fileOf(output),
    poster: tag === "video" && output.thumbnail, playsinline: tag === "video",
  });
  // Chromium's controls would go on showing a spinner although loading has paused.
  element.addEventListener("suspend", () => {
    if (!element.paused || !element.controls) return;
    element.controls = false;
    element.controls = true;
  });
  return element;
};

// Without a picture of its own a video shows its first frame, which is fetched once it comes into view.
const seen = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    target.preload = "metadata";
    seen.unobserve(target);
  }
});

const clip = (output) => {
  const video = player("video", output, "none");
  video.controls = false;
  if (!output.thumbnail) seen.observe(video);
  const play = button({ class: "play", tabindex: "-1", "aria-label": `Play ${fileOf(output)}` }, icon("play"));
  play.addEventListener("click", () => {
    play.remove();
    video.controls = true;
    video.focus();
    video.play().catch(() => {});  // its own controls say why it does not
  });
  return make("div", { class: "tile" }, video, play);
};

const tile = (item, output, place, surplus) => {
  const open = () => openBox(item, place);
  const label = item.outputs.length > 1 ? `Open output ${place + 1} of ${item.outputs.length}` : "Open";
  const opener = (...children) =>
    button({ class: "tile", tabindex: "-1", "aria-label": label, on: { click: open } }, ...children,
      surplus && make("span", { class: "surplus", text: `+${surplus}` }));
  const source = small(output);
  if (output.as === "video" && output.href) return clip(output);
  if (output.as === "audio" && output.href) {
    return make("div", { class: "tile sound" }, source ? picture(output, source, "", true) : icon("audio"), player("audio", output, "none"));
  }
  if (source) return opener(picture(output, source, titleOf(item, output), true));
  if (output.text) return opener(make("span", { class: "excerpt", text: output.text.slice(0, 700) }));
  return placeholder(output, output.media);
};

const media = (item) => {
  if (!item.outputs.length) {
    const says = item.status === "unknown" ? "whether it was made is not known" : item.error;
    return make("div", { class: `media empty ${classOf(item)}` }, icon(iconOf(item.kind)),
      make("strong", { text: item.reason || item.phase }), says && make("span", { text: says }));
  }
  const tiles = item.outputs.slice(0, 4);
  return make("div", { class: `media of-${tiles.length}` },
    ...tiles.map((output, place) => tile(item, output, place, place === 3 ? item.outputs.length - 4 : 0)));
};
