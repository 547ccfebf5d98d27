// An activation atlas as a map: levels to zoom through, cells to ask. The page is whole without this: the sheets are pictures in it.
// Whatever comes from the results enters the page as text, never as HTML.
{
  // A level is shown as soon as its cells are so wide, in cells of the coarsest level at zoom 1.
  const WIDE = 0.75;
  const MOST = 24;

  function enlivenAtlas(figure) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const sheets = [];
    for (const image of figure.querySelectorAll("img[data-level]")) {
      sheets[Number(image.dataset.level)] = image;
    }
    const examples = figure.querySelector("img[data-examples]");
    const levels = data.levels.map((level) => ({
      ...level,
      places: new Map(level.cells.map((cell, place) => [cell[0] * level.size + cell[1], place])),
    }));
    const plane = element("div", { className: "atlas-plane" });
    const mark = element("div", { className: "atlas-mark", hidden: true });
    const stage = element("div", { className: "atlas-stage", tabIndex: 0 }, plane);
    const panel = element("div", { className: "atlas-cell" });
    panel.setAttribute("aria-live", "polite");
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-label", "Map: arrow keys go from cell to cell, plus and minus zoom, 0 shows all");
    plane.append(...sheets, mark);
    for (const sheet of sheets) {
      sheet.alt = "";
      sheet.draggable = false;
    }

    let side = 1; // of the whole map in pixels, at zoom 1
    let zoom = 1;
    let left = 0;
    let top = 0;
    let shown = 0;
    let chosen = null; // [row, column] of the level shown

    function clamp(value, length) {
      const room = length - side * zoom;
      return room > 0 ? room / 2 : Math.min(0, Math.max(room, value));
    }

    function leastZoom(level) {
      return level.size === levels[0].size ? 1 : (WIDE * level.size) / levels[0].size;
    }

    function draw() {
      left = clamp(left, stage.clientWidth);
      top = clamp(top, stage.clientHeight);
      plane.style.width = plane.style.height = `${side * zoom}px`;
      plane.style.transform = `translate(${left}px, ${top}px)`;
      const before = shown;
      shown = 0;
      levels.forEach((level, number) => {
        if (zoom >= leastZoom(level)) {
          shown = Math.max(shown, number);
        }
      });
      sheets.forEach((sheet, number) => sheet.classList.toggle("seen", number === shown));
      buttons.forEach((button, number) => button.setAttribute("aria-pressed", String(number === shown)));
      if (before !== shown && chosen !== null) {
        const ratio = levels[shown].size / levels[before].size;
        choose(...nearest(...chosen.map((at) => Math.floor((at + 0.5) * ratio))));
      }
    }

    function zoomTo(to, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
      const next = Math.max(1, Math.min(MOST, to));
      left = x - ((x - left) * next) / zoom;
      top = y - ((y - top) * next) / zoom;
      zoom = next;
      draw();
    }

    // The drawn cell that is nearest to a place, where it lies in a direction that was asked for.
    function nearest(row, column, allowed = () => true) {
      let best = null;
      let least = Infinity;
      for (const cell of levels[shown].cells) {
        const distance = (cell[0] - row) ** 2 + (cell[1] - column) ** 2;
        if (distance < least && allowed(cell[0] - row, cell[1] - column)) {
          [best, least] = [[cell[0], cell[1]], distance];
        }
      }
      return best ?? chosen;
    }

    function picture(source, x, y, width, height, className, label) {
      const canvas = element("canvas", { width, height, className });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", label);
      canvas.getContext("2d").drawImage(source, x, y, width, height, 0, 0, width, height);
      return canvas;
    }

    function choose(row, column) {
      const level = levels[shown];
      const place = level.places.get(row * level.size + column);
      if (place === undefined) {
        return;
      }
      chosen = [row, column];
      const share = 100 / level.size;
      Object.assign(mark.style, {
        left: `${column * share}%`,
        top: `${row * share}%`,
        width: `${share}%`,
        height: `${share}%`,
      });
      mark.hidden = false;
      const [, , count, labels, near] = level.cells[place];
      const pixels = sheets[shown].naturalWidth / level.size;
      const name = `Row ${row + 1}, column ${column + 1} of ${level.size} × ${level.size}`;
      const told = element("div", {}, element("p", { textContent: count === 1 ? "1 vector" : `${count} vectors` }));
      if (labels.length > 0) {
        const list = element("dl");
        for (const [label, value] of labels) {
          list.append(element("dt", { textContent: label }), element("dd", { textContent: value }));
        }
        told.append(element("p", { textContent: "Contributes, on average, to the logit of" }), list);
      }
      if (near.length > 0) {
        const columns = examples.naturalWidth / data.example;
        const crops = element("div", { className: "crops" });
        near.forEach((at, number) => {
          const [x, y] = [(at % columns) * data.example, Math.floor(at / columns) * data.example];
          crops.append(picture(examples, x, y, data.example, data.example, "", `Nearest part of an image, ${number + 1}`));
        });
        told.append(element("p", { textContent: "Nearest parts of images" }), crops);
      }
      const icon = picture(sheets[shown], column * pixels, row * pixels, pixels, pixels, "icon", `Picture of ${name}`);
      panel.replaceChildren(element("h3", { textContent: name }), element("div", { className: "inside" }, icon, told));
    }

    function bringIntoSight() {
      const width = (side * zoom) / levels[shown].size;
      const [y, x] = chosen.map((at) => at * width);
      left = Math.min(Math.max(left, -x), stage.clientWidth - x - width);
      top = Math.min(Math.max(top, -y), stage.clientHeight - y - width);
      draw();
    }

    const steps = {
      ArrowLeft: (down, right) => right < 0 && Math.abs(down) <= -right,
      ArrowRight: (down, right) => right > 0 && Math.abs(down) <= right,
      ArrowUp: (down, right) => down < 0 && Math.abs(right) <= -down,
      ArrowDown: (down, right) => down > 0 && Math.abs(right) <= down,
    };

    function press(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) {
        return;
      }
      const width = (side * zoom) / levels[shown].size;
      const at = chosen?.map((cell, axis) => (cell + 0.5) * width + (axis === 0 ? top : left)) ?? [undefined, undefined];
      if (event.key in steps) {
        const next = chosen === null ? nearest(levels[shown].size / 2, levels[shown].size / 2) : nearest(...chosen, steps[event.key]);
        choose(...next);
        bringIntoSight();
      } else if (event.key === "+" || event.key === "=") {
        zoomTo(zoom * 1.5, at[1], at[0]);
      } else if (event.key === "-") {
        zoomTo(zoom / 1.5, at[1], at[0]);
      } else if (event.key === "0" || event.key === "Home") {
        zoomTo(1);
      } else {
        return;
      }
      event.preventDefault();
    }

    // One finger or the mouse moves the map, two fingers zoom it, and a touch that does not move asks for a cell.
    const pointers = new Map();
    let moved = 0;

    function spread() {
      const [first, second] = [...pointers.values()];
      return Math.hypot(first.x - second.x, first.y - second.y);
    }

    function place(event) {
      const box = stage.getBoundingClientRect();
      return { x: event.clientX - box.left - stage.clientLeft, y: event.clientY - box.top - stage.clientTop };
    }

    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      moved = pointers.size > 1 ? Infinity : 0;
    });
    stage.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (before === undefined) {
        return;
      }
      const now = place(event);
      const apart = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, now);
      moved += Math.hypot(now.x - before.x, now.y - before.y);
      if (pointers.size === 1 && moved > 4) {
        stage.classList.add("dragged");
        left += now.x - before.x;
        top += now.y - before.y;
        draw();
      } else if (pointers.size === 2 && apart > 0) {
        const [first, second] = [...pointers.values()];
        zoomTo((zoom * spread()) / apart, (first.x + second.x) / 2, (first.y + second.y) / 2);
      }
    });
    function release(event) {
      const at = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      stage.classList.remove("dragged");
      if (event.type === "pointerup" && at !== undefined && moved <= 4) {
        const width = (side * zoom) / levels[shown].size;
        choose(Math.floor((at.y - top) / width), Math.floor((at.x - left) / width));
      }
    }
    stage.addEventListener("pointerup", release);
    stage.addEventListener("pointercancel", release);
    // The wheel scrolls the page until the map is in use: it was clicked, or Ctrl is held, as a touchpad's pinch does.
    stage.addEventListener(
      "wheel",
      (event) => {
        if (document.activeElement !== stage && !event.ctrlKey) {
          return;
        }
        event.preventDefault();
        const { x, y } = place(event);
        zoomTo(zoom * 2 ** (-event.deltaY / 400), x, y);
      },
      { passive: false },
    );
    stage.addEventListener("keydown", press);

    function tool(text, label, act) {
      const button = element("button", { type: "button", textContent: text });
      button.setAttribute("aria-label", label);
      button.addEventListener("click", act);
      return button;
    }
    const buttons = levels.map((level) =>
      tool(`${level.size} × ${level.size}`, `Show ${level.size} by ${level.size} cells`, () => zoomTo(leastZoom(level))),
    );
    const tools = element(
      "div",
      { className: "atlas-tools" },
      tool("+", "Zoom in", () => zoomTo(zoom * 1.5)),
      tool("−", "Zoom out", () => zoomTo(zoom / 1.5)),
      tool("all", "Show the whole map", () => zoomTo(1)),
      ...(levels.length > 1 ? buttons : []),
    );
    const hint = "Drag to move, pinch or use + and − to zoom; after a click the wheel zooms too, and arrow keys go from cell to cell.";
    panel.append(element("p", { textContent: "Choose a cell to see what it holds." }));
    const body = element("div", { className: "atlas-body" }, element("div", {}, stage), panel);
    body.firstChild.append(...figure.querySelectorAll(".atlas-sides"), element("p", { className: "atlas-hint", textContent: hint }));
    figure.querySelectorAll(".atlas-level").forEach((part) => part.remove());
    figure.prepend(tools, body);
    new ResizeObserver(() => {
      const before = side;
      side = Math.min(stage.clientWidth, stage.clientHeight);
      left *= side / before;
      top *= side / before;
      if (chosen === null) {
        draw();
      } else {
        bringIntoSight();
      }
    }).observe(stage);
    Promise.all([...sheets, examples].map((image) => image?.decode().catch(() => {}))).then(() => {
      choose(...nearest(levels[shown].size / 2, levels[shown].size / 2));
    });
  }

  document.querySelectorAll("[data-atlas]").forEach(enlivenAtlas);
}
