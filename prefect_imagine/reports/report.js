(() => {
  "use strict";
  const CHUNK = 60;
  const FILM = 9;
  const FACETS = ["status", "provider", "kind", "model", "label", "reason"];
  const $ = (id) => document.getElementById(id);
  const items = [];
  const haystacks = [];
  const facets = new Map(FACETS.map((facet) => [facet, new Map()]));
  const pages = JSON.parse($("pages").textContent);
  const total = pages.items;
  const [form, cards, box, more] = ["filters", "cards", "box", "more"].map($);
  const valuesOf = (item, facet) => (facet === "label" ? item.labels : item[facet] ? [item[facet]] : []);

  let shown = [];
  let drawn = 0;
  let current = 0;
  let opened = null;

  const make = (tag, { on = {}, text, ...attributes } = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== "" && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    for (const [name, handler] of Object.entries(on)) element.addEventListener(name, handler);
    if (text !== undefined) element.textContent = text;
    element.append(...children.filter(Boolean));
    return element;
  };

  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `#icon-${name}`);
    svg.append(use);
    return svg;
  };

  const iconOf = (kind) => ({ voice: "audio", music: "audio", infographic: "image" })[kind] || kind;
  const small = (output) => output.thumbnail || (output.as === "image" && !output.heavy && output.href) || "";
  const titleOf = (item) => item.name || item.prompt.trim().split(/\s+/).slice(0, 9).join(" ");
  const link = (output, text) =>
    output.href
      ? make("a", { href: output.href, target: "_blank", rel: "noopener noreferrer", text })
      : make("span", { text: output.file || text });

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
      controls: true, preload, src: output.href, "aria-label": output.file,
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
    const play = make("button", { type: "button", class: "play", tabindex: "-1", "aria-label": `Play ${output.file}` }, icon("play"));
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
    const button = (...children) =>
      make("button", { type: "button", class: "tile", tabindex: "-1", "aria-label": label, on: { click: open } }, ...children,
        surplus && make("span", { class: "surplus", text: `+${surplus}` }));
    const source = small(output);
    if (output.as === "video" && output.href) return clip(output);
    if (output.as === "audio" && output.href) {
      return make("div", { class: "tile sound" }, source ? picture(output, source, "", true) : icon("audio"), player("audio", output, "none"));
    }
    if (source) return button(picture(output, source, titleOf(item), true));
    if (output.text) return button(make("span", { class: "excerpt", text: output.text.slice(0, 700) }));
    return placeholder(output, output.media);
  };

  const media = (item) => {
    if (!item.outputs.length) {
      const says = item.status === "unknown" ? "whether it was made is not known" : item.error;
      return make("div", { class: `media empty ${item.status}` }, icon(iconOf(item.kind)),
        make("strong", { text: item.reason || item.phase }), says && make("span", { text: says }));
    }
    const tiles = item.outputs.slice(0, 4);
    return make("div", { class: `media of-${tiles.length}` },
      ...tiles.map((output, place) => tile(item, output, place, place === 3 ? item.outputs.length - 4 : 0)));
  };

  const costs = (item) => {
    const list = make("span", { class: "costs" });
    for (const [name, value] of item.costs) {
      list.append(make("span", { class: `cost ${name.replace(" ", "-")}` }, value && make("b", { text: value }), make("small", { text: name })));
    }
    return list;
  };

  const chips = (labels) => labels.length > 0 && make("ul", { class: "chips" }, ...labels.map((text) => make("li", { text })));
  const stateOf = (item) => {
    if (item.status === item.phase) return item.status;
    return item.status === "failed" ? "failed for now" : `${item.status} (${item.phase})`;
  };

  const prompt = (item) => {
    const text = make("p", { class: "prompt", text: item.prompt });
    if (item.prompt.length < 110 && item.prompt.split("\n").length < 4) return [text];
    const button = make("button", { type: "button", class: "expand", "aria-expanded": "false", text: "more" });
    button.addEventListener("click", () => {
      const open = text.classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
      button.textContent = open ? "less" : "more";
    });
    return [text, button];
  };

  const card = (item, place) =>
    make("li", {},
      make("article", {
        class: `card ${item.status}`, tabindex: place === current ? "0" : "-1",
        "aria-label": `Item ${item.index}, ${titleOf(item)}, ${item.status}`,
      },
        media(item),
        make("div", { class: "body" },
          make("h3", {}, make("span", { class: "index", text: String(item.index) }), make("span", { class: "name", text: item.name })),
          ...prompt(item),
          make("p", { class: "meta" }, make("span", { text: item.provider }), make("span", { text: item.kind }), make("span", { text: item.model })),
          chips(item.labels),
          make("div", { class: "foot" }, make("span", { class: `state ${item.status}`, text: stateOf(item) }), costs(item)),
          item.reason && make("p", { class: "why" }, make("b", { text: item.reason }), item.error && ` ${item.error}`))));

  const draw = (count) => {
    const next = shown.slice(drawn, drawn + count).map((item, place) => card(item, drawn + place));
    cards.append(...next);
    drawn += next.length;
  };

  // The observer speaks only when something changes, so it is asked anew after every chunk.
  const watcher = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting || drawn >= shown.length) return;
    draw(CHUNK);
    watcher.unobserve(more);
    watcher.observe(more);
  }, { rootMargin: "1200px" });

  const show = (found) => {
    shown = found;
    drawn = current = 0;
    cards.replaceChildren();
    draw(CHUNK);
    tell();
  };

  const tell = () => {
    const [matches, all] = [shown.length, total].map((count) => count.toLocaleString("en"));
    const loading = items.length < total && !pages.failed ? `, ${items.length.toLocaleString("en")} loaded so far` : "";
    const missing = pages.failed ? `; items from ${items.length + 1} on could not be loaded` : "";
    $("nothing").hidden = shown.length > 0 || loading !== "";
    $("matches").textContent = (shown.length === total ? `${all} items` : `${matches} of ${all}`) + loading + missing;
  };

  const selects = new Map(FACETS.map((facet) => [facet, make("select", { name: facet, "aria-label": facet })]));

  const offer = () => {
    for (const [facet, select] of selects) {
      const [chosen, counts] = [select.value, facets.get(facet)];
      select.replaceChildren(new Option(`Any ${facet}`, ""));
      for (const [value, count] of [...counts].sort()) select.append(new Option(`${value} (${count.toLocaleString("en")})`, value));
      select.value = chosen;
      if (select.selectedIndex < 0) select.value = "";
    }
    const useful = [...selects].filter(([facet]) => facets.get(facet).size > (facet === "reason" || facet === "label" ? 0 : 1));
    const wanted = useful.map(([, select]) => select);
    const there = [...$("selects").children];
    if (wanted.length !== there.length || wanted.some((select, place) => select !== there[place])) $("selects").replaceChildren(...wanted);
  };

  const haystack = (item) =>
    [item.index, item.name, item.prompt, item.provider, item.kind, item.model, item.status, item.reason, item.error, item.id,
      ...item.labels, ...item.outputs.map((output) => output.text)].join("\n").toLowerCase();

  const add = (rows) => {
    for (const item of rows) {
      items.push(item);
      haystacks.push(haystack(item));
      for (const [facet, counts] of facets) for (const value of valuesOf(item, facet)) counts.set(value, (counts.get(value) || 0) + 1);
    }
    offer();
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

  // A page opened from a file may load scripts, and nothing else: each of these calls `imagineItems` with its rows.
  const loadMore = () => {
    if (!pages.addresses.length) return;
    const script = make("script", { src: pages.addresses.shift() });
    const before = items.length;
    script.addEventListener("load", () => {
      script.remove();
      if (!opened && new URLSearchParams(location.hash.slice(1)).has("item")) return readHash(), loadMore();
      shown = shown.concat(found(before));
      tell();
      watcher.unobserve(more);
      watcher.observe(more);
      loadMore();
    });
    script.addEventListener("error", () => {
      pages.failed = true;
      tell();
    });
    document.head.append(script);
  };

  const writeHash = () => {
    const hash = new URLSearchParams();
    if (form.q.value.trim()) hash.set("q", form.q.value.trim());
    for (const [facet, select] of selects) if (select.value) hash.set(facet, select.value);
    if (cards.classList.contains("compact")) hash.set("view", "compact");
    if (opened) hash.set("item", opened.index);
    history.replaceState(null, "", `#${hash}`);
  };

  const setCompact = (compact) => {
    cards.classList.toggle("compact", compact);
    $("compact").setAttribute("aria-pressed", String(compact));
  };

  const readHash = () => {
    const hash = new URLSearchParams(location.hash.slice(1));
    form.q.value = hash.get("q") || "";
    for (const [facet, select] of selects) {
      select.value = hash.get(facet) || "";
      if (select.selectedIndex < 0) select.value = "";
    }
    setCompact(hash.get("view") === "compact");
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
  $("compact").addEventListener("click", () => {
    setCompact(!cards.classList.contains("compact"));
    writeHash();
  });
  addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return;
    readHash();
    if (!opened) $("sheet").scrollIntoView();
  });

  const focusCard = (place) => {
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
    if (!event.target.matches(".card, .tile:is(button)")) return;
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
    if (event.key !== "/" || box.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    form.q.focus();
    form.q.select();
  });
  form.q.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && shown.length) {
      event.preventDefault();
      focusCard(0);
    }
  });
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio, video")) if (other !== event.target) other.pause();
  }, true);

  const fullPicture = (item, output) => {
    const image = picture(output, output.href, titleOf(item), false);
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

  const rows = (pairs) => {
    const list = make("dl", {});
    for (const [name, value] of pairs) if (value) list.append(make("dt", { text: name }), make("dd", { text: value }));
    return list;
  };

  const facts = (item) => [
    ["Provider", item.provider], ["Kind", item.kind], ["Model", item.model], ["Labels", item.labels.join("\n")],
    ["Job", item.id], ["Attempts", item.attempts > 1 ? String(item.attempts) : ""], ...item.times,
  ];

  const strip = (item, place) =>
    item.outputs.length > 1 && make("div", { class: "strip" }, ...item.outputs.map((output, at) =>
      make("button", { type: "button", "aria-label": `Output ${at + 1}`, "aria-current": at === place && "true", on: { click: () => openBox(item, at) } },
        small(output) ? picture(output, small(output), "", true) : icon(output.as))));

  const fillBox = (item, place) => {
    const output = item.outputs[place];
    const at = shown.indexOf(item);
    const step = (by, text, label) =>
      make("button", { type: "button", class: "quiet", "aria-label": label, disabled: !shown[at + by] || at < 0, text, on: { click: () => turn(by) } });
    box.replaceChildren(
      make("div", { class: "stage" }, large(item, output), strip(item, place)),
      make("div", { class: "side" },
        make("div", { class: "bar-top" }, step(-1, "←", "Previous item"), step(1, "→", "Next item"),
          make("span", { class: "dim", text: at < 0 ? "" : `${at + 1} of ${shown.length}` }),
          make("button", { type: "button", class: "quiet", autofocus: true, text: "Close", on: { click: () => box.close() } })),
        make("h2", {}, make("span", { class: "index", text: String(item.index) }), make("span", { text: item.name })),
        make("p", { class: "prompt open", text: item.prompt }),
        make("div", { class: "foot" }, make("span", { class: `state ${item.status}`, text: stateOf(item) }), costs(item)),
        item.reason && make("p", { class: "why" }, make("b", { text: item.reason }), item.error && ` ${item.error}`),
        rows(facts(item)),
        item.settings.length > 0 && make("h3", { text: "Settings" }), rows(item.settings),
        output && make("h3", { text: "Output" }),
        output && make("p", { class: "file" }, link(output, output.file || "Open")),
        output && rows([["Type", output.media], ["Size", output.size], ["sha256", output.sha256]])));
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
    box.replaceChildren();
    writeHash();
    focusCard(place);
  });

  const clock = new Intl.DateTimeFormat("en", {
    timeZone: "UTC", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });

  const readable = (figure) => {
    const { begun, ended, bands } = JSON.parse(figure.dataset.chart);
    const plot = figure.querySelector(".plot");
    const cursor = make("i", { class: "cursor", hidden: true });
    const tip = make("div", { class: "tip", role: "status", hidden: true });
    const last = bands[0].sums.length - 1;
    let column = last;
    const hide = () => { cursor.hidden = tip.hidden = true; };
    const read = (to) => {
      column = Math.min(last, Math.max(0, Math.round(to)));
      const list = make("dl", {});
      for (const [place, band] of [...bands.entries()].reverse()) {
        list.append(make("i", { class: `band-${place}` }), make("dt", { text: band.name }),
          make("dd", { text: band.sums[column].toLocaleString("en") }));
      }
      tip.replaceChildren(make("b", { text: clock.format(begun + (ended - begun) * column / last) }), list);
      tip.classList.toggle("flip", column > last / 2);
      cursor.style.left = tip.style.left = `${100 * column / last}%`;
      cursor.hidden = tip.hidden = false;
    };
    plot.append(cursor, tip);
    plot.addEventListener("pointermove", (event) => {
      const { left, width } = plot.getBoundingClientRect();
      read(last * (event.clientX - left) / width);
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: column - 6, ArrowRight: column + 6, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      read(to);
    });
  };

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
    draw(shown.length);
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  add(JSON.parse($("items").textContent));
  $("theme").hidden = false;
  $("keys").hidden = form.hidden = items.length === 0;
  document.querySelectorAll("[data-chart]").forEach(readable);
  fillFilm();
  readHash();
  watcher.observe(more);
  window.imagineItems = add;
  loadMore();
})();
