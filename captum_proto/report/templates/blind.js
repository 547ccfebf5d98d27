"use strict";
(() => {
  const form = document.body.dataset.form;
  const all = [...document.querySelectorAll(".picture")];
  const at = (id) => document.getElementById(id);
  const count = all.length;
  const answers = all.map((_, i) => at(`answer-${i + 1}`));
  const unknown = all.map((_, i) => at(`unknown-${i + 1}`));
  const notes = all.map((_, i) => at(`note-${i + 1}`));
  const choices = all.map((item) => [...item.querySelectorAll(".choice input")]); // none where names are typed
  const person = at("person");
  const place = `captum-proto blind ${form}`;
  let here = -1; // before the first picture: what the form is about
  let single = true;
  let unsaved = false;

  // Some browsers keep nothing for a file that was opened from a disk, and say so by an exception.
  const storage = (() => {
    try {
      const found = window.localStorage;
      found.setItem(`${place} test`, "1");
      found.removeItem(`${place} test`);
      return found;
    } catch {
      return null;
    }
  })();

  const spelled = (text) => text.normalize("NFC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  const names = new Set();
  for (const option of document.querySelectorAll("#names option")) {
    const alone = option.value.replace(/\s*\([^()]*\)$/u, ""); // "crane" of "crane (134)"
    for (const name of [option.value, alone, ...option.value.split(",")]) names.add(spelled(name));
  }

  const answered = (i) => unknown[i].checked || answers[i].value.trim() !== "";
  const missing = () => all.findIndex((_, i) => !answered(i));

  function keep() {
    unsaved = true;
    try {
      storage?.setItem(place, JSON.stringify({
        person: person.value,
        answers: answers.map((field) => field.value),
        unknown: unknown.map((box) => box.checked),
        here,
        single,
      }));
    } catch {
      // The disk is full: the file that is saved at the end has everything all the same.
    }
  }

  function recall() {
    let found = null;
    try {
      found = JSON.parse(storage?.getItem(place) ?? "null");
    } catch {
      found = null;
    }
    if (!found || !Array.isArray(found.answers) || !Array.isArray(found.unknown)) return;
    person.value = String(found.person ?? "");
    answers.forEach((field, i) => { field.value = String(found.answers[i] ?? ""); });
    unknown.forEach((box, i) => { box.checked = found.unknown[i] === true; });
    here = Number.isInteger(found.here) ? Math.min(Math.max(found.here, -1), count) : -1;
    single = found.single !== false;
  }

  function note(i) {
    const text = spelled(answers[i].value);
    const strange = names.size > 0 && text !== "" && !names.has(text);
    notes[i].textContent = strange ? "That is not one of the names. It stays as you typed it." : "";
  }

  function show() {
    const last = here >= count;
    document.body.classList.toggle("single", single);
    document.body.classList.toggle("listed", !single);
    document.body.classList.toggle("begun", here >= 0);
    all.forEach((item, i) => item.classList.toggle("here", i === here));
    choices.forEach((boxes, i) => boxes.forEach((box) => { box.checked = box.value === answers[i].value; }));
    at("end").hidden = single && !last;
    at("end-title").textContent = single ? "That was the last picture" : "That is all";
    at("back").disabled = here < 0;
    at("next").disabled = last;
    at("begin").textContent = here < 0 && !all.some((_, i) => answered(i)) ? "Begin" : "Go on";
    at("view").textContent = single ? "All pictures as a list" : "One picture at a time";
    const done = all.filter((_, i) => answered(i)).length;
    at("progress").textContent = `${done} of ${count} answered`;
    const open = count - done;
    at("missing").textContent = open === 0
      ? "Every picture has an answer."
      : `${open} ${open === 1 ? "picture has" : "pictures have"} no answer yet.`;
    at("to-missing").hidden = open === 0;
  }

  function go(i, typing) {
    here = Math.min(Math.max(i, -1), count);
    show();
    keep();
    const target = here >= count ? at("end") : here < 0 ? at("top") : all[here];
    if (here >= 0 && here < count && typing && choices[here].length === 0) {
      answers[here].focus();
    } else {
      target.focus({ preventScroll: true });
    }
    if (single) window.scrollTo(0, 0);
    else target.scrollIntoView({ block: "start" });
  }

  answers.forEach((field, i) => {
    field.addEventListener("input", () => {
      if (field.value.trim() !== "") unknown[i].checked = false;
      notes[i].textContent = "";
      show();
      keep();
    });
    field.addEventListener("change", () => note(i));
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      note(i);
      go(event.shiftKey ? Math.max(i - 1, 0) : i + 1, true);
    });
  });
  choices.forEach((boxes, i) => boxes.forEach((box) => {
    box.addEventListener("change", () => {
      answers[i].value = box.value;
      answers[i].dispatchEvent(new Event("input"));
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      go(i + 1, false);
    });
  }));
  unknown.forEach((box, i) => {
    box.addEventListener("change", () => {
      if (box.checked) answers[i].value = "";
      notes[i].textContent = "";
      show();
      keep();
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") go(i + 1, true);
    });
  });
  all.forEach((item, i) => item.addEventListener("focusin", () => {
    if (!single) here = i;
  }));
  person.addEventListener("input", keep);
  at("begin").addEventListener("click", () => go(Math.max(missing(), 0), false));
  at("back").addEventListener("click", () => go(here - 1, false));
  at("next").addEventListener("click", () => go(here + 1, false));
  at("to-missing").addEventListener("click", () => go(missing(), true));
  at("view").addEventListener("click", () => {
    single = !single;
    if (single && here >= count) here = -1;
    show();
    keep();
  });
  at("anew").addEventListener("click", () => {
    if (!window.confirm("Remove your name and all answers?")) return;
    person.value = "";
    answers.forEach((field) => { field.value = ""; });
    unknown.forEach((box) => { box.checked = false; });
    notes.forEach((line) => { line.textContent = ""; });
    at("saved").hidden = true;
    go(-1, false);
    unsaved = false;
    try {
      storage?.removeItem(place);
    } catch {
      // What cannot be removed is written over by the next answer.
    }
  });

  const cell = (text) => (/[",\r\n;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  at("save").addEventListener("click", () => {
    const who = person.value.trim();
    const rows = [["form", "person", "number", "answer"]];
    all.forEach((_, i) => {
      rows.push([form, who, String(i + 1), unknown[i].checked ? "?" : answers[i].value.trim()]);
    });
    const text = `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
    const name = `answers-${form}${who ? `-${who.replace(/[^\p{L}\p{N}]+/gu, "-")}` : ""}.csv`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unsaved = false;
    at("saved").textContent = `Saved as ${name}, among your downloads. Send this file to whoever gave you the form.`;
    at("saved").hidden = false;
    at("saved").scrollIntoView({ block: "end" });
  });

  window.addEventListener("beforeunload", (event) => {
    if (unsaved && !storage) event.preventDefault();
  });

  document.body.classList.add("runs");
  document.querySelectorAll(".scripted").forEach((part) => { part.hidden = false; });
  at("kept").textContent = storage
    ? "Your answers are kept in this browser."
    : "This browser keeps nothing: save your answers before you close the page.";
  recall();
  unsaved = false;
  answers.forEach((_, i) => note(i));
  at("saved").hidden = true;
  show();
})();
