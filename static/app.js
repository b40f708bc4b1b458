/* Simple Drive in the browser. Every page works without this file; it adds sending with progress, dropping,
   counting what is ticked, and focus that follows what htmx swaps. */
(() => {
"use strict";

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const say = (words) => { one("#said").textContent = words; };
document.documentElement.dataset.scripts = "on";

/* As simpledrive/ui/amounts.py writes sizes. */
function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes, unit = "", digits = 0;
  for (unit of ["KiB", "MiB", "GiB", "TiB", "PiB"]) {
    value /= 1024;
    digits = value >= 99.95 ? 0 : value < 9.995 && unit !== "KiB" && unit !== "MiB" ? 2 : 1;
    if (Number(value.toFixed(digits)) < 1024) break;
  }
  return `${value.toFixed(digits)} ${unit}`;
}

const counted = (amount, noun) => `${amount.toLocaleString("en")} ${noun}${amount === 1 ? "" : "s"}`;

/* Sending: two files at a time, each in a request of its own, so that one that fails keeps none back. */

const AT_ONCE = 2;
const waiting = [];
const sending = new Set();
const tally = { stored: 0, failed: 0 };

function send(list, form) {
  const to = {
    url: form.action,
    folder: one("[name=folder]", form).value,
    backend: one("[name=storage_backend]", form).value,
    token: one("[name=csrf_token]", form).value,
  };
  const tray = one("#tray");
  tray.hidden = false;
  tray.open = true;
  one("[type=file]", form).blur();
  if (!list.length) say("There was no file in it.");
  for (const { file, path } of list) waiting.push({ file, path, to, row: newRow(path) });
  next();
}

function newRow(path) {
  const row = one("#sending").content.firstElementChild.cloneNode(true);
  one(".split span", row).textContent = path;
  one("progress", row).setAttribute("aria-label", `${path}, sent`);
  one(".num", row).textContent = "waits";
  one(".say", row).textContent = "Waits for its turn.";
  one("#arrivals").append(row);
  return row;
}

function next() {
  while (sending.size < AT_ONCE && waiting.length) transfer(waiting.shift());
  const left = sending.size + waiting.length;
  const parts = [[left, "to go"], [tally.stored, "stored"], [tally.failed, "not stored"]];
  one("#tray-sum").textContent = parts.filter(([n]) => n).map(([n, words]) => `${n} ${words}`).join(" · ");
  if (!left && tally.stored + tally.failed) settled();
}

function transfer(job) {
  sending.add(job);
  const { file, path, to, row } = job;
  const bar = one("progress", row), began = Date.now();
  const show = (percent, words) => {
    bar.value = percent;
    one(".num", row).textContent = `${percent} %`;
    one(".say", row).textContent = words;
  };
  one(".do", row).hidden = true;
  show(0, `Sending, 0 of ${size(file.size)}.`);

  const body = new FormData();
  body.append("csrf_token", to.token);
  body.append("folder", to.folder);
  body.append("storage_backend", to.backend);
  body.append("file", file, path);
  const request = new XMLHttpRequest();
  request.upload.onprogress = ({ loaded, total }) => {
    const sent = Math.min(file.size, Math.round(file.size * loaded / total));
    const left = Math.ceil((Date.now() - began) / 1000 * (total - loaded) / Math.max(1, loaded));
    show(Math.floor(100 * loaded / total), `Sending, ${size(sent)} of ${size(file.size)}. ${left} s left.`);
  };
  request.upload.onload = () => {
    bar.className = "slow";
    show(100, `All ${size(file.size)} sent, storing on ${to.backend}.`);
  };
  request.onload = () => arrived(job, request);
  request.onerror = () => failed(job, `The connection broke at ${one(".num", row).textContent}. Nothing of it is stored.`);
  request.onloadend = () => { sending.delete(job); next(); };
  request.open("POST", to.url);
  request.setRequestHeader("HX-Request", "true");
  request.send(body);
}

function arrived(job, request) {
  const door = request.getResponseHeader("HX-Redirect");
  if (door) { leaving = true; location.assign(door); return; }
  const answer = document.createElement("template");
  answer.innerHTML = request.responseText;
  const row = one("li", answer.content);
  if (!row || !one(".say", row)) {
    const words = one("article .detail", answer.content);
    failed(job, words ? words.textContent : "The drive did not say why. Nothing of it is stored.");
  } else {
    one(".is-bad", row) ? tally.failed++ : tally.stored++;
    job.row.replaceWith(row);
    htmx.process(row);
  }
}

function failed(job, why) {
  tally.failed++;
  const state = one(".num", job.row), bar = one("progress", job.row), again = one(".do", job.row);
  state.textContent = "not stored";
  state.classList.add("is-bad");
  bar.className = "still";
  one(".say", job.row).textContent = why;
  again.hidden = false;
  one("button", again).onclick = () => {
    tally.failed--;
    state.classList.remove("is-bad");
    bar.className = "";
    waiting.push(job);
    next();
  };
}

function settled() {
  say(`${counted(tally.stored, "file")} stored${tally.failed ? `, ${tally.failed} not stored` : ""}.`);
  if (one("#upload") && !inUse()) htmx.ajax("GET", location.pathname, { target: "#main", swap: "outerHTML show:none" });
}

/* What somebody has ticked, chosen or opened further down is not swapped away under his hands. */
function inUse() {
  const input = one("#up-files");
  // The window for choosing files may be open: what is chosen in it goes to this very element.
  const choosing = input && (input.files.length || input === document.activeElement);
  return choosing || one("#rows :checked") || location.search.includes("cursor=");
}

let leaving = false;
addEventListener("beforeunload", (event) => {
  if (!leaving && sending.size + waiting.length) event.preventDefault();
  leaving = true;
  setTimeout(() => { leaving = false; }, 3000);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id === "upload") {
    event.preventDefault();
    const input = one("[type=file]", form);
    send([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })), form);
    input.value = "";
  }
  if (form.className === "theme") {
    event.preventDefault();
    colours(form, event.submitter);
  }
});

/* Dropping files and folders anywhere on a page that has an upload form. */

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files") && one("#upload");

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    document.documentElement.classList.toggle("arrives", kind === "dragover");
  });
}

document.addEventListener("drop", async (event) => {
  const form = one("#upload");
  if (!carriesFiles(event)) return;
  // All must be taken before the first await: the list is emptied afterwards.
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const dropped = items.map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  try {
    const found = dropped.map(([entry, file]) => entry ? walk(entry, "") : [{ file, path: file.name }]);
    send((await Promise.all(found)).flat(), form);
  } catch (error) {
    say(`What was dropped cannot be read: ${error.message}`);
  }
});

async function walk(entry, above) {
  const path = above + entry.name;
  if (entry.isFile) return [{ path, file: await new Promise((done, fail) => entry.file(done, fail)) }];
  const reader = entry.createReader(), found = [];
  for (;;) {
    // A reader gives a hundred or so at a time, and none at the end.
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return found;
    for (const child of some) found.push(...await walk(child, `${path}/`));
  }
}

/* What is ticked. */

function count() {
  const ticked = all("#rows :checked"), boxes = all("#rows [name=id]"), every = one("#tick-all"), sum = one("#ticked");
  if (!sum) return;
  const shown = [[all("#rows tr").length - boxes.length, "folder"], [boxes.length, "file"]].filter(([n]) => n);
  one("#shown").textContent = `${shown.map(([n, noun]) => counted(n, noun)).join(", ") || "Nothing more"}, by name`;
  const bytes = ticked.reduce((total, box) => total + Number(box.dataset.size), 0);
  const small = document.createElement("span");
  small.className = "small";
  small.textContent = `· ${size(bytes)}`;
  sum.replaceChildren(`${ticked.length} selected `, small);
  every.checked = boxes.length > 0 && ticked.length === boxes.length;
  every.indeterminate = ticked.length > 0 && !every.checked;
  every.disabled = !boxes.length;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "tick-all") for (const box of all("#rows [name=id]")) box.checked = event.target.checked;
  if (event.target.id === "up-tree") one("#up-files").webkitdirectory = event.target.checked;
  count();
});
document.addEventListener("reset", () => setTimeout(count));

/* What is shown once is copied by a button. The clipboard is closed to pages that came without TLS: then as of old. */

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = one(`#${button.dataset.copy}`);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    if (!document.execCommand("copy")) { say("It is selected now: copy it."); return; }
  }
  button.lastChild.textContent = "Copied";
  say("Copied.");
});

/* Colours change at once; the drive keeps the choice. */

function colours(form, button) {
  document.documentElement.dataset.theme = button.value;
  for (const each of all("button", form)) each.setAttribute("aria-pressed", each === button);
  const body = new URLSearchParams(new FormData(form));
  body.set("theme", button.value);
  fetch(form.action, { method: "POST", body, redirect: "manual" });
}

/* htmx: say that something is under way, put the focus where it belongs, and never fail in silence. */

document.addEventListener("htmx:before:request", () => one("#main").setAttribute("aria-busy", "true"));
document.addEventListener("htmx:finally:request", () => one("#main").removeAttribute("aria-busy"));

let lastRow = null;
document.addEventListener("htmx:before:swap", (event) => {
  lastRow = one("#rows tr:last-child");
  const refresh = event.detail.ctx.sourceElement === document.body && event.detail.ctx.swap.includes("show:none");
  if (refresh && inUse()) event.preventDefault();
});
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  count();
  one("#menu:target") && history.replaceState(history.state, "", location.pathname + location.search);
  if (ctx.target?.id === "rows") one("a", lastRow?.nextElementSibling ?? one("#more"))?.focus();
  else if (ctx.target?.classList.contains("card")) {
    const card = document.getElementById(ctx.target.id);
    one("button", card).focus();
    say(`${one("h2", card).textContent} ${one(".state", card).textContent}.`);
  }
  else if (ctx.sourceElement !== document.body) one("#main").focus({ preventScroll: true });
  const note = one("#note strong");
  if (note) say(note.textContent);
});
document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  // A request that broke because the page is being left, or a mere refresh, leads nowhere.
  if (leaving || ctx?.sourceElement === document.body) return;
  if (ctx?.request?.method === "GET") location.assign(ctx.request.action);
  else say("The drive did not answer. Whether it was done shows when the page is loaded again.");
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "u" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const input = one("#up-files");
  if (input) { event.preventDefault(); input.focus(); }
});

count();
})();
