"use strict";
// The page has one state and draws it anew after each answer of the server. What is decided is on the disk when the server says so.

const start = JSON.parse(document.getElementById("start").textContent);
const byId = (id) => document.getElementById(id);
const main = byId("main");
const MOST_BUTTONS = 12; // levels; more are chosen in a field
const isFew = (levels) => levels.length <= MOST_BUTTONS;
const DIGIT = /^[0-9]$/;
const isLevel = (action) => !action.key || DIGIT.test(action.key);
const PAUSE = 120000; // ms: who takes longer has been elsewhere
const state = {
  view: "questions", // or "photos", "photo"
  shown: null, // the question or photo
  at: -1, // number of the question
  page: 0,
  listed: [], // numbers of the photos on the list
  axis: 0, // the one that digits are for
  large: 0, // which of the shown photos is large
  busy: false,
  undo: kept("undo", []), // rows, the last one at the end, with the question of each
  paces: [], // ms from one decision to the next
  since: Date.now(),
};

function kept(name, otherwise) {
  try { return JSON.parse(sessionStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
}
function keep(name, value) {
  try { sessionStorage.setItem(name, JSON.stringify(value)); } catch { /* only for this page, then */ }
}
function who() {
  try { return localStorage.getItem("who") || start.who; } catch { return start.who; }
}

// --- the server

// A URL of this start of the command: by now questions and photos may have other numbers than this page knows.
const now = (path) => `${path}${path.includes("?") ? "&" : "?"}session=${start.session}`;

async function ask(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(now(path), { cache: "no-store", ...how });
  } catch {
    throw new Error("The server does not answer. Is `maskcli review` still running? What you just pressed was not saved.");
  }
  if (!answer.ok) throw new Error((await answer.text()) || `error ${answer.status}`);
  return answer.json();
}

// One at a time: a key that comes before the answer to the last one is not for what will be shown then.
async function alone(work) {
  if (state.busy) return;
  state.busy = true;
  try { await work(); } catch (error) { say(error.message, true); } finally { state.busy = false; }
}

function say(text, bad = false) {
  const status = byId("status");
  status.classList.toggle("bad", bad);
  status.textContent = text;
}

function wanted() {
  const found = new URLSearchParams({ about: byId("about").value, class: byId("class").value, text: byId("text").value });
  if (state.view === "photos") found.delete("about");
  return found;
}

// --- what is shown

const show = {
  async question(way, from, said = "") {
    const query = wanted();
    query.set("way", way);
    query.set("from", from);
    const found = await ask(`question?${query}`);
    if (!found.question && way === "at") return show.question("next", from, said); // the filter has changed
    if (!found.question && (way === "after" || way === "before")) {
      say(way === "after" ? "This is the last one." : "This is the first one.");
      return;
    }
    state.view = "questions";
    state.shown = found.question;
    state.large = 0;
    if (found.question) state.at = found.question.number;
    history.replaceState(null, "", found.question ? `#question-${state.at}` : "#");
    progress(found);
    draw();
    for (const number of found.ahead) new Image().src = picture(number, "large");
    say(said);
  },
  async photos(page = 0) {
    const query = wanted();
    query.set("page", page);
    state.view = "photos";
    const found = await ask(`photos?${query}`);
    state.page = found.page;
    state.shown = found;
    state.listed = found.photos.map((one) => one.number);
    history.replaceState(null, "", "#photos");
    draw();
    say(`${found.total.toLocaleString("en")} photos${found.pages > 1 ? `, page ${page + 1} of ${found.pages.toLocaleString("en")}` : ""}`);
  },
  async photo(number, said = "") {
    state.shown = await ask(`photo/${number}`);
    state.view = "photo";
    state.large = 0;
    history.replaceState(null, "", `#photo-${number}`);
    draw();
    say(said);
  },
};

function progress(found) {
  const left = found.asked - found.decided;
  byId("bar").max = Math.max(1, found.asked);
  byId("bar").value = found.decided;
  const pace = median(state.paces.slice(-20));
  const eta = pace && left ? `, ${time(pace * left)} left` : "";
  byId("far").textContent = `${found.decided.toLocaleString("en")} of ${found.asked.toLocaleString("en")} decided${eta}`;
  byId("far").title = pace ? `${seconds(pace)} each` : "";
}
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const seconds = (ms) => `${ms < 9500 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`;
function time(ms) {
  const minutes = Math.round(ms / 60000);
  if (minutes < 1) return "less than 1 min";
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

// An element: make("p.why", {title: "..."}, "text", element, ...).
function make(what, given = {}, ...inside) {
  const [name, ...classes] = what.split(".");
  const element = document.createElement(name);
  element.className = classes.join(" ");
  for (const [key, value] of Object.entries(given)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...inside.filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}
const picture = (number, size) => now(`photo/${number}/${size}.jpg`);

// The photo in a button's box; where it cannot be shown, why.
function image(photo, size) {
  const found = make("img", { src: picture(photo.number, size), alt: described(photo), decoding: "async", loading: size === "small" ? "lazy" : "eager" });
  found.addEventListener("error", async () => {
    let why = "the server does not answer";
    try {
      const answer = await fetch(found.src, { cache: "no-store" });
      why = answer.ok ? "" : await answer.text();
      if (answer.ok) { found.src = `${found.src}&again`; return; }
    } catch { /* as it is */ }
    found.replaceWith(make("span.broken", {}, why));
  }, { once: true });
  return found;
}
function described(photo) {
  const labels = Object.entries(photo.labels).map(([axis, level]) => `${axis} ${level}`);
  return [photo.file, ...labels, ...(photo.removed ? ["removed"] : [])].join(", ");
}
// whose: whether to name the group too.
function caption(photo, axis, whose = false) {
  const labels = Object.entries(photo.labels).map(([name, level]) =>
    make(name === axis ? "span.asked" : "span", {}, photo.changed.includes(name) ? `${level} *` : level));
  const stem = photo.file.split("/").pop().replace(/\.[^.]+$/, "");
  return make("figcaption", {},
    make("b", { title: photo.file }, whose && photo.group && start.unit !== "photo" ? `${photo.group} ${stem}` : stem), make("br"),
    ...labels.flatMap((one, place) => (place ? [" · ", one] : [one])),
    photo.removed ? make("b", {}, " removed") : "");
}

function draw() {
  const focused = document.activeElement;
  const key = main.contains(focused) && focused.closest("[data-key]") ? focused.closest("[data-key]").dataset.key : null;
  const inside = main.contains(focused);
  const asking = state.view === "questions";
  byId("to-questions").toggleAttribute("aria-current", asking);
  byId("to-photos").toggleAttribute("aria-current", !asking);
  byId("progress").hidden = !asking || !start.questions;
  byId("about").hidden = !asking;
  byId("filters").hidden = state.view === "photo";
  main.className = state.view === "photos" ? "" : "looking";
  main.replaceChildren(...(state.view === "photos" ? list() : state.shown ? looked() : [nothing()]));
  window.scrollTo(0, 0);
  if (inside) ((key && main.querySelector(`[data-key="${CSS.escape(key)}"]`)) || main).focus({ preventScroll: true });
}

function nothing() {
  const filtered = byId("about").value || byId("class").value || byId("text").value;
  main.className = "";
  return make("div.done", {},
    make("h1", {}, start.questions === 0 ? "Nothing is asked" : filtered ? "No question left that fits the filter" : "All is decided"),
    make("p", {}, start.questions === 0 ? "Any photo can be looked at and relabelled." : "`dvc repro` trains on what was decided; `maskcli compare` says what it brought."),
    make("button", { type: "button", onclick: () => alone(() => show.photos()) }, "All photos"));
}

function list() {
  const found = state.shown;
  const figures = found.photos.map((photo) => make(photo.removed ? "figure.gone" : "figure", {},
    make("button.shown", { type: "button", "data-key": `p${photo.number}`, onclick: () => alone(() => show.photo(photo.number)) }, image(photo, "small")),
    caption(photo, "", true)));
  const turn = (text, by) => make("button", { type: "button", "data-key": text, disabled: by < 0 ? found.page === 0 : found.page + 1 >= found.pages, onclick: () => alone(() => show.photos(found.page + by)) }, text);
  return [
    make("h1", {}, found.total ? "All photos" : "No photo fits the filter"),
    make("div.list", {}, ...figures),
    found.pages > 1 ? make("div.pages", {}, turn("Previous page", -1), `${found.page + 1} of ${found.pages.toLocaleString("en")}`, turn("Next page", 1)) : "",
  ].filter(Boolean);
}

// A question, or a photo by itself: the photos on the left, what can be decided on the right.
function looked() {
  const one = state.shown;
  const pair = one.kind === "pair";
  const large = pair ? one.photos.slice(0, 2) : [one.photos[state.large]];
  const photos = make("section", { "aria-label": "Photos" },
    make(pair || one.photos.length === 1 ? "div.large.alone" : "div.large", {}, ...large.map((photo) => make(photo.removed ? "figure.gone" : "figure", {},
      make("button.shown", { type: "button", "data-key": `large${photo.number}`, "aria-label": `Zoom: ${described(photo)}`, onclick: () => zoom(photo) }, image(photo, "large")),
      caption(photo, one.axis, pair)))),
    !pair && one.photos.length > 1 ? make("div.strip", {}, ...one.photos.map(small)) : "",
    one.more ? make("p.small", {}, `and ${one.more.toLocaleString("en")} more; All photos finds them by their ${start.unit}`) : "");
  return [photos, make("section.panel", { "aria-label": "Decision" }, ...(one.kind === "photo" ? photoPanel(one) : questionPanel(one)))];
}

function small(photo, place) {
  const one = state.shown;
  return make(photo.removed ? "figure.gone" : "figure", {},
    make("button.shown", {
      type: "button", "data-key": `small${place}`, "aria-pressed": place === state.large ? "true" : "false",
      onclick: () => { state.large = place; draw(); },
    }, image(photo, "small")),
    caption(photo, one.axis));
}

function questionPanel(one) {
  const whose = start.unit === "photo" || one.kind === "unreadable" ? one.id : one.kind === "pair" ? one.photos.map((photo) => photo.group).join(" and ") : `${start.unit} ${one.photos[0].group}`;
  const levels = one.actions.filter(isLevel);
  const [first, second] = ["a", "k"].map((key) => one.actions.find((action) => action.key === key));
  const box = make("div.box", {},
    make("h1", { tabindex: "-1" }, one.title),
    make("p.whose", {}, whose),
    one.suggested ? make("div.between", {},
      make("div", {}, make("small", {}, "given"), make("b", {}, one.given)),
      make("span", { "aria-hidden": "true" }, "→"),
      make("div.new", {}, make("small", {}, "suggested"), make("b", {}, one.suggested))) : "",
    make("p.why", {}, sentence(one.why), one.score === null ? "" : make("span.small", {}, one.likely_wrong ? ` ${Math.round(100 * one.score)} % likely wrong.` : ` Score ${one.score.toFixed(2)}.`)),
    one.ambiguous ? make("p.badge", {}, "ambiguous: perhaps neither is wrong") : "",
    one.decided ? make("p.did", {}, `${one.decided}. Deciding again adds to that.`) : "");
  return [
    box,
    make("div.deciding", {},
      make("div.row", {}, button(first, "first"), button(second)),
      one.kind === "pair" ? make("div.row", {}, ...levels.map((action) => button(action))) : "",
      make("div.row", {}, plain("s", "Skip", skip), plain("u", "Undo", undo))),
    stepping(),
    one.suggested ? make("div.box", {}, relabelling({ name: one.axis, actions: levels, number_of: one.number_of, level: null, id: one.id }, true)) : "",
  ].filter(Boolean);
}

function photoPanel(one) {
  const [removal] = one.actions;
  const gone = one.photos[0].removed;
  return [
    make("div.box", {}, make("h1", { tabindex: "-1" }, one.title), make("p.whose", {}, one.photos[0].group && `${start.unit} ${one.photos[0].group}`), one.why ? make("p.badge", {}, one.why) : "",
      gone ? make("p.did", {}, "removed from the data") : ""),
    one.axes.length ? make("div.box", {}, ...one.axes.map((axis, place) => relabelling(axis, place === state.axis % one.axes.length))) : "",
    make("div.stepping", {},
      gone ? "" : button(removal),
      make("div.row", {}, plain("u", "Undo", undo), plain("b", "All photos", () => alone(() => show.photos(state.page))))),
    stepping(),
    one.history.length ? make("div.box", {}, make("h2", {}, "Decided"), make("ul.history", {}, ...one.history.map((row) => make("li", {}, make("span", {}, row.told),
      make("button", { type: "button", onclick: () => takeBack(row.row, null) }, "Take back"))))) : "",
  ].filter(Boolean);
}

// The levels of an axis as buttons, or in a field where there are many; and a field for a number.
function relabelling(axis, active) {
  const many = !isFew(axis.actions);
  const form = (label, input, onsubmit) => make("form.typed", { onsubmit: (event) => { event.preventDefault(); onsubmit(); } }, make("label", {}, label, " ", input), make("button", {}, "Save"));
  const named = (new_) => ({ id: axis.id, axis: axis.name, new: new_, seen: axis.seen });
  const parts = [];
  if (many) {
    const id = `levels-${axis.name}`;
    const field = make("input", { list: id, autocomplete: "off", "data-key": `f-${axis.name}` });
    parts.push(form("Level", field, () => field.value && decide(named(field.value))), make("datalist", { id }, ...axis.actions.map((action) => make("option", { value: action.new }))));
  } else {
    parts.push(make("div.levels", {}, ...axis.actions.map((action) => button({ ...action, seen: axis.seen }, "", { digit: true, pressed: axis.level === null ? undefined : action.new === axis.level }))));
  }
  if (axis.number_of !== null) {
    const field = make("input", { type: "number", step: "any", value: axis.number_of, "data-key": `n-${axis.name}` });
    parts.push(form("Number", field, () => field.value && decide(named(field.value))));
  }
  const note = axis.all ? make("small", {}, ` of the whole ${start.unit}`) : "";
  return make(active ? "fieldset.axis.active" : "fieldset.axis", { "data-axis": axis.name }, make("legend", {}, axis.level === null ? `${axis.name} is` : axis.name, note), ...parts);
}

function button(action, extra = "", { digit = false, pressed } = {}) {
  return make(extra ? `button.act.${extra}` : "button.act", {
    type: "button", "data-key": digit ? `d-${action.axis}-${action.new}` : action.key,
    "aria-keyshortcuts": action.key || null, "aria-pressed": pressed === undefined ? null : String(pressed), onclick: () => decide(action),
  }, make("span", {}, action.text), action.key ? make(digit ? "kbd.digit" : "kbd", { "aria-hidden": "true" }, action.key) : "");
}
function plain(key, text, work, shortcut = key) {
  return make("button.act", { type: "button", "data-key": key, "aria-keyshortcuts": shortcut, onclick: work }, make("span", {}, text), make("kbd", { "aria-hidden": "true" }, key));
}
const stepping = () => make("div.stepping", {}, make("div.row", {},
  plain("←", "Previous", () => step("before"), "ArrowLeft"), plain("→", "Next", () => step("after"), "ArrowRight")));
// A name in a sentence: of two that are written from right to left the one after an arrow would stand before it.
const apart = (name) => `\u2068${name}\u2069`;
const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "");

// --- what is done

function decide(action) {
  return alone(async () => {
    const one = state.shown;
    const question = one.kind === "photo" ? null : one.number;
    const seen = question === null ? (action.seen ?? 0) : one.seen;
    const body = { id: action.id, axis: action.axis, new: action.new, seen, question, who: who() };
    const saved = await ask("decide", body);
    state.undo.push({ row: saved.row, question, photo: one.kind === "photo" ? one.photos[0].number : null, session: start.session });
    keep("undo", state.undo.slice(-200));
    const took = Date.now() - state.since;
    if (took < PAUSE) state.paces.push(took);
    state.since = Date.now();
    const row = saved.row;
    const [name, old, new_] = [row.id, row.old, row.new].map(apart);
    const what = row.old === row.new ? `${row.axis} of ${name} stays ${new_}` : `${row.axis} of ${name}: ${old} → ${new_}`;
    const said = `Saved: ${what}.${saved.told ? ` ${sentence(saved.told)}` : ""}`;
    if (one.kind === "photo") await show.photo(one.photos[0].number, said);
    else await show.question("next", one.number, said);
  });
}
const skip = () => alone(async () => {
  if (state.view !== "questions" || !state.shown) return;
  const before = state.at;
  state.since = Date.now();
  await show.question("next", before);
  say(state.at === before ? "This is the only one left." : "Skipped; it is asked again at the end.");
});
const undo = () => {
  const last = state.undo.at(-1);
  if (!last) { say("There is no decision of this browser to undo."); return; }
  takeBack(last.row, last);
};
function takeBack(row, last) {
  return alone(async () => {
    const answer = await ask("undo", { row, who: who() });
    state.undo = state.undo.filter((one) => one !== last && JSON.stringify(one.row) !== JSON.stringify(row));
    keep("undo", state.undo);
    const said = answer.told ? `Not undone: ${answer.told}.` : `Undone: ${row.axis} of ${apart(row.id)} is ${apart(row.old)} again.`;
    const here = last && last.session === start.session; // else its numbers are of an earlier start
    if (here && last.question !== null) await show.question("at", last.question, said);
    else if (here) await show.photo(last.photo, said);
    else if (state.view === "photo") await show.photo(state.shown.photos[0].number, said);
    else if (state.view === "questions") await show.question(state.at < 0 ? "next" : "at", state.at, said);
    else say(said);
  });
}
const step = (way) => alone(async () => {
  if (state.view === "questions") await show.question(way, state.shown || way === "before" ? (state.shown ? state.at : 1e9) : -1);
  else if (state.view === "photos") {
    const page = state.page + (way === "after" ? 1 : -1);
    if (page >= 0 && page < state.shown.pages) await show.photos(page);
  } else {
    const by = way === "after" ? 1 : -1;
    const here = state.shown.about[0];
    const place = state.listed.indexOf(here);
    const next = place >= 0 ? state.listed[place + by] : here + by;
    if (next === undefined || next < 0) say("There is none on this page of the list.");
    else await show.photo(next);
  }
});

// --- zoom

function zoom(photo) {
  byId("zoom-photo").src = picture(photo.number, "whole");
  byId("zoom-photo").alt = described(photo);
  byId("zoom-name").textContent = photo.file;
  scale(1);
  byId("zoom").showModal();
  byId("zoom-box").focus();
}
function scale(to) {
  const [box, photo] = [byId("zoom-box"), byId("zoom-photo")];
  const [x, y] = [(box.scrollLeft + box.clientWidth / 2) / box.scrollWidth, (box.scrollTop + box.clientHeight / 2) / box.scrollHeight];
  photo.className = to === 1 ? "" : `x${to}`;
  box.scrollTo(x * box.scrollWidth - box.clientWidth / 2, y * box.scrollHeight - box.clientHeight / 2);
}
const scaled = () => Number(byId("zoom-photo").className.slice(1) || 1);
byId("zoom-in").addEventListener("click", () => scale(Math.min(4, scaled() * 2)));
byId("zoom-out").addEventListener("click", () => scale(Math.max(1, scaled() / 2)));
byId("zoom-photo").addEventListener("click", () => scale(scaled() === 4 ? 1 : scaled() * 2));
byId("zoom-close").addEventListener("click", () => byId("zoom").close());
byId("zoom").addEventListener("keydown", (event) => {
  if (pressed(event) === "z") byId("zoom").close();
  else if (event.key === "+" || event.key === "=") byId("zoom-in").click();
  else if (event.key === "-") byId("zoom-out").click();
  else return;
  event.preventDefault();
  event.stopPropagation(); // closed by now, it would be opened again
});

// --- keys

function help() {
  byId("who").value = who();
  byId("help").showModal();
}
byId("help").addEventListener("close", () => {
  const name = byId("who").value.trim();
  try { localStorage.setItem("who", name === start.who ? "" : name); } catch { /* for this page the old one */ }
  named();
});
function named() { byId("as").textContent = `as ${who()}`; }

const KEYS = {
  s: skip,
  u: undo,
  j: () => step("after"),
  ArrowRight: () => step("after"),
  ArrowLeft: () => step("before"),
  z: () => state.shown?.photos && state.view !== "photos" && zoom(state.shown.photos[state.large]),
  o: () => state.view === "questions" && state.shown && alone(() => show.photo(state.shown.photos[state.large].number)),
  x: () => { if (state.view === "photo") { state.axis += 1; draw(); say(`Digits are for ${main.querySelector(".axis.active")?.dataset.axis}.`); } },
  r: () => main.querySelector(".axis.active button, .axis.active input")?.focus(),
  b: () => alone(() => show.photos(state.view === "photo" ? state.page : 0)),
  q: () => alone(() => show.question(state.at < 0 ? "next" : "at", state.at)),
  f: () => { unfold(true); (byId("about").hidden ? byId("class") : byId("about")).focus(); },
  "/": () => { unfold(true); byId("text").focus(); },
  "?": help,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.getModifierState("AltGraph") || (event.repeat && !event.key.startsWith("Arrow"))) return;
  const key = pressed(event);
  const action = state.view === "photos" || !state.shown ? null : acts().find((one) => one.key === key);
  if (action) decide(action);
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else return;
  event.preventDefault();
});
// The key's letter, also under Caps Lock, and of a keyboard that writes other letters (Korean, Greek) the one in its place.
function pressed({ key, code, shiftKey }) {
  if (key.length === 1 && key.charCodeAt(0) < 128) return shiftKey ? key : key.toLowerCase();
  return code.startsWith("Key") ? code.slice(3).toLowerCase() : key;
}
// What keys decide here. Levels of a field have none: nobody sees which is which.
function acts() {
  const one = state.shown;
  if (one.kind !== "photo") return one.actions.filter((action) => one.kind === "pair" || !DIGIT.test(action.key) || isFew(one.actions.filter(isLevel)));
  const axis = one.axes[state.axis % Math.max(1, one.axes.length)];
  return [...one.actions, ...(axis && isFew(axis.actions) ? axis.actions.map((action) => ({ ...action, seen: axis.seen })) : [])];
}

// --- begin

for (const [value, text] of start.abouts) byId("about").append(make("option", { value }, text));
start.classes.forEach((name, number) => byId("class").append(make("option", { value: number }, name)));
const sought = start.unit === "photo" ? "Photo" : `${start.unit[0].toUpperCase()}${start.unit.slice(1)} or photo`;
byId("text").placeholder = sought;
byId("text").setAttribute("aria-label", sought);
byId("notes").append(...start.notes.map((note) => make("p", {}, note)));
byId("to-questions").addEventListener("click", () => KEYS.q());
byId("to-photos").addEventListener("click", () => KEYS.b());
byId("to-help").addEventListener("click", help);
// On a phone the filters are folded away.
const unfold = (open) => byId("to-filters").setAttribute("aria-expanded", String(open));
byId("to-filters").addEventListener("click", () => unfold(byId("to-filters").getAttribute("aria-expanded") !== "true"));
let typing;
const filtered = () => (state.busy ? setTimeout(filtered, 30) : alone(() => (state.view === "photos" ? show.photos() : show.question("next", -1))));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filtered, 150); });
named();
const [, place, number] = location.hash.match(/^#(question|photo|photos)(?:-(\d+))?$/) || [];
alone(async () => {
  if (place === "photo" && number < start.photos) await show.photo(Number(number));
  else if (place === "photos" || !start.questions) await show.photos();
  else if (place === "question" && number < start.questions) await show.question("at", Number(number));
  else await show.question("next", -1);
});
