// Curves that answer: which layer, what each condition has there, which conditions to show, and which measure.
// The page is whole without this; whatever comes from the results enters it as text, never as HTML.
"use strict";

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

let figures = 0;

function enliven(figure) {
  const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const panels = [...figure.querySelectorAll(".panel")];
  const reading = figure.querySelector(".reading");
  const name = `curves-${(figures += 1)}`;
  const hidden = new Set();
  const values = [];
  const last = data.layers.length - 1;
  let measure = panels[0].dataset.measure;
  let layer = null;

  function shown(condition) {
    const row = data.measures[measure].values[condition];
    const value = row === null || layer === null ? null : row[layer];
    return value === null ? "–" : value.toFixed(data.measures[measure].digits).replace("-", "−");
  }

  function update() {
    for (const panel of panels) {
      panel.classList.toggle("shown", panel.dataset.measure === measure);
    }
    for (const part of figure.querySelectorAll(".plot [data-condition]")) {
      part.classList.toggle("hidden", hidden.has(Number(part.dataset.condition)));
    }
    values.forEach((value, condition) => {
      value.textContent = layer === null ? "" : shown(condition);
    });
    if (layer === null) {
      return;
    }
    reading.replaceChildren(`Layer ${layer + 1} of ${last + 1}: `, element("b", { textContent: data.layers[layer] }));
    const all = data.conditions.filter((_, condition) => !hidden.has(condition));
    const text = all.map((condition) => `${condition} ${shown(data.conditions.indexOf(condition))}`).join(", ");
    for (const panel of panels) {
      const plot = panel.querySelector(".plot");
      const cursor = plot.querySelector(".cursor");
      cursor.hidden = false;
      cursor.style.left = `${(100 * (layer + 0.5)) / (last + 1)}%`;
      plot.setAttribute("aria-valuenow", String(layer + 1));
      plot.setAttribute("aria-valuetext", `layer ${layer + 1}, ${data.layers[layer]}: ${text}`);
    }
  }

  function move(to) {
    layer = Math.max(0, Math.min(last, to));
    update();
  }

  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    move(Math.floor(((event.clientX - box.left) / box.width) * (last + 1)));
  }

  const page = Math.max(1, Math.round(last / 10));
  const keys = {
    ArrowLeft: () => layer - 1,
    ArrowDown: () => layer - 1,
    ArrowRight: () => (layer === null ? 0 : layer + 1),
    ArrowUp: () => (layer === null ? 0 : layer + 1),
    PageDown: () => layer - page,
    PageUp: () => layer + page,
    Home: () => 0,
    End: () => last,
  };

  function press(event) {
    if (event.key in keys && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      move(keys[event.key]());
    }
  }

  const choices = element("fieldset", {}, element("legend", { textContent: "What the curves show" }));
  for (const panel of panels) {
    const key = panel.dataset.measure;
    const input = element("input", { type: "radio", name, id: `${name}-${key}`, value: key, checked: key === measure });
    input.addEventListener("change", () => {
      measure = key;
      update();
    });
    const label = element("label", { htmlFor: input.id, textContent: data.measures[key].title });
    choices.append(element("span", {}, input, label));

    const plot = panel.querySelector(".plot");
    plot.append(element("div", { className: "cursor", hidden: true }));
    plot.tabIndex = 0;
    plot.setAttribute("role", "slider");
    plot.setAttribute("aria-label", `${data.measures[key].title}: layer`);
    plot.setAttribute("aria-valuemin", "1");
    plot.setAttribute("aria-valuemax", String(last + 1));
    plot.setAttribute("aria-valuenow", "1");
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("keydown", press);
  }
  figure.querySelector(".switch").append(choices);

  for (const entry of figure.querySelectorAll(".legend li")) {
    const condition = Number(entry.dataset.condition);
    const value = element("span", { className: "value" });
    const button = element("button", { type: "button" }, ...entry.childNodes, value);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      const now = !hidden.delete(condition);
      if (now) {
        hidden.add(condition);
      }
      button.setAttribute("aria-pressed", String(!now));
      update();
    });
    values[condition] = value;
    entry.replaceChildren(button);
  }

  reading.hidden = false;
  reading.textContent = "Point at a layer, or use the arrow keys, to read its values; choose a name to hide or show its line.";
  figure.classList.add("live");
  update();
}

document.querySelectorAll("[data-curves]").forEach(enliven);

// Rows in the order of a column: the largest figure first, then, asked again, the smallest.
function valueOf(row, column) {
  const text = row.cells[column].textContent.trim();
  const figure = Number.parseFloat(text.replace("−", "-").replace(/^[^\d.-]+/, ""));
  return Number.isNaN(figure) ? text : figure;
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const ascending = heads[column].getAttribute("aria-sort") === "descending";
  const rows = [...table.tBodies[0].rows];
  const sign = ascending ? 1 : -1;
  rows.sort((one, other) => {
    const [a, b] = [valueOf(one, column), valueOf(other, column)];
    return sign * (typeof a === typeof b ? (a > b) - (a < b) : typeof a === "number" ? 1 : -1);
  });
  table.tBodies[0].append(...rows);
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("[data-sortable]")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = element("button", { type: "button", title: "Sort by this column" }, ...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.replaceChildren(button);
  });
}

// A long table is searched: rows that hold all the words that were typed stay.
const LONG = 12;
for (const table of document.querySelectorAll("[data-sortable]")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LONG) continue;
  const field = element("input", { type: "search", placeholder: "Search rows", ariaLabel: "Search the rows of the table" });
  const count = element("output", { textContent: `${rows.length} rows` });
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  });
  table.closest(".wide").before(element("p", { className: "search" }, field, " ", count));
}

// In a map of positions, up and down lead to the rows above and below.
document.querySelectorAll(".positions").forEach((figure) => {
  const inputs = [...figure.querySelectorAll('input[type="radio"]')];
  const columns = Number(figure.dataset.columns);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -columns, ArrowDown: columns }[event.key];
    const next = inputs[inputs.indexOf(event.target) + step];
    if (inputs.includes(event.target) && step !== undefined) {
      event.preventDefault();
      next?.focus();
      next?.click();
    }
  });
});

// What a link leads to unfolds, and everything does for the printer: in browsers that do not do so by themselves.
function unfold() {
  const target = document.getElementById(window.location.hash.slice(1));
  for (let part = target; part !== null; part = part.parentElement) {
    part.open = true;
  }
}
window.addEventListener("hashchange", unfold);
unfold();
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.open = true;
    part.dataset.printed = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-printed]")) {
    part.open = false;
    delete part.dataset.printed;
  }
});

// A table that is wider than its box says so in words.
const watched = new ResizeObserver((boxes) => {
  for (const { target } of boxes) {
    const wider = target.scrollWidth > target.clientWidth + 1;
    target.nextElementSibling?.classList.contains("more-across") && target.nextElementSibling.remove();
    if (wider) {
      target.after(element("p", { className: "more-across", textContent: "More columns: scroll the table sideways. →" }));
    }
  }
});
document.querySelectorAll(".wide").forEach((box) => watched.observe(box));
