// Charts that are read by mouse and by keyboard.
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

