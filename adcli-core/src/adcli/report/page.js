"use strict";

const $ = (selector) => document.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const rounded = (value) => String(Number(value.toPrecision(6)));

/* Search */

// A card is found by all that it says, and by the heading it stands under.
function wordsOf(element) {
  const heading = element.closest(".group")?.querySelector("h3").firstChild.data ?? "";
  return `${heading} ${(element.querySelector(".words") ?? element).textContent}`.toLowerCase();
}

function search(input) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = $$(input.dataset.filter);
  for (const element of all) {
    const text = words.length ? wordsOf(element) : "";
    element.hidden = !words.every((word) => text.includes(word));
  }
  const found = all.filter((element) => !element.hidden).length;
  const said = $(`#${input.getAttribute("aria-describedby")}`);
  if (!words.length) said.textContent = "";
  else if (found) said.textContent = `${found} of ${all.length}`;
  else said.textContent = `Nothing is found for “${input.value.trim()}”. ${input.dataset.searched}`;
}

function searchAgain() {
  for (const input of $$("[data-filter]")) search(input);
  for (const group of $$(".group")) group.hidden = !group.querySelector(".card:not([hidden])");
}

for (const input of $$("[data-filter]")) input.addEventListener("input", searchAgain);
for (const box of $$("[data-toggle]")) {
  box.addEventListener("change", () => document.body.classList.toggle(box.dataset.toggle, !box.checked));
}

/* Enlarging */

const dialog = $("dialog");
for (const button of $$(".card button")) {
  button.addEventListener("click", () => {
    const card = button.closest(".card");
    const shown = document.createElement("div");
    shown.classList.toggle("passed", card.classList.contains("passed"));
    shown.append(card.querySelector(".words").cloneNode(true), card.querySelector("svg").cloneNode(true));
    dialog.lastElementChild.replaceChildren(shown);
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.className === "close") dialog.close();
});

/* Trying other thresholds */

const known = JSON.parse($("#known").textContent);
const ascending = (values) => Float64Array.from(values).sort();
// Parts count, if images are judged together.
const counted = known.parts ?? known;
const good = ascending(counted.scores.filter((_, i) => counted.labels[i] === "g"));
const defective = ascending(counted.scores.filter((_, i) => counted.labels[i] === "d"));
const calibrating = ascending(known.calibration);
const own = known.threshold;
const steps = [...new Set(ascending([...known.scores, ...known.calibration, ...(own === null ? [] : [own])]))];

// A score above the threshold is a defect; one that equals it is not.
function countAbove(scores, threshold) {
  let [low, high] = [0, scores.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle] > threshold) high = middle;
    else low = middle + 1;
  }
  return scores.length - low;
}

function verdictsAt(threshold) {
  const [found, alarms] = [countAbove(defective, threshold), countAbove(good, threshold)];
  return { found, missed: defective.length - found, alarms, passed: good.length - alarms };
}

function inWords(counts) {
  const said = [];
  if (defective.length) said.push(`${counts.found} of ${defective.length} defective found, ${counts.missed} missed`);
  if (good.length) said.push(`${counts.alarms} of ${good.length} good rejected (false alarms)`);
  return said.join("; ");
}

function promiseAt(threshold) {
  const n = calibrating.length;
  if (!n) return "No good images were held out, so nothing is known of its false-alarm rate.";
  const above = countAbove(calibrating, threshold);
  // Of zones, the threshold is a place among the scores of each: as many lie above it, and each zone has its share.
  const reach = known.zones ? known.zones * (n - Math.min(Math.max(Math.floor(threshold), 0), n) + 1) : above + 1;
  const bound = reach > n ? "no bound: all lie above it" : `${known.folds ? "about" : "at most"} ` +
    `${percent(reach / (n + 1))} (${reach} in ${n + 1})`;
  return `${above} of ${n} good calibration images (${percent(above / n)}) lie above it. ` +
    `As a false-alarm rate: ${bound}.`;
}

function placeOn(svg, axis, value) {
  const scale = axis === "x" && svg.dataset.scale === "log" ? Math.log : Number;
  const [low, high, start, end] = svg.dataset[axis].split(" ").map(Number);
  return start + ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (end - start);
}

// Where each drawing shows a threshold, in the values of its axes; null if it does not.
const shownBy = {
  histogram: (threshold) => [threshold, 0],
  roc: (threshold) => {
    const { found, alarms } = verdictsAt(threshold);
    return [alarms / good.length, found / defective.length];
  },
  precision: (threshold) => {
    const { found, alarms } = verdictsAt(threshold);
    return found + alarms ? [found / defective.length, found / (found + alarms)] : null;
  },
};

function movePlots(threshold) {
  for (const [name, shown] of Object.entries(shownBy)) {
    const mark = document.getElementById(`${name}-threshold`);
    if (!mark) continue;
    const [svg, from, to] = [mark.closest("svg"), shown(own), shown(threshold)];
    mark.style.display = to ? "" : "none";
    if (!to) continue;
    const [dx, dy] = ["x", "y"].map((axis, i) => placeOn(svg, axis, to[i]) - placeOn(svg, axis, from[i]));
    mark.setAttribute("transform", `translate(${dx} ${dy})`);
  }
}

// Cards come in the order of their scores in `known`.
const judged = $$(".card.judged").map((card, i) => ({ card, score: known.scores[i], label: known.labels[i] }));
const falling = [...judged].sort((a, b) => b.score - a.score || (a.card.dataset.name < b.card.dataset.name ? -1 : 1));

function keyOf({ score, label }, threshold) {
  return threshold === null ? "" : `${label}${score > threshold ? 1 : 0}`;
}

// Cards that are in their place stay there: moving them costs time. Those of other groups are taken by these.
function arrange(place, cards) {
  const own = new Set(cards);
  let next = place.firstElementChild;
  for (const card of cards) {
    while (next && !own.has(next)) next = next.nextElementSibling;
    if (card === next) next = next.nextElementSibling;
    else place.insertBefore(card, next);
  }
}

function regroup(threshold) {
  for (const group of $$(".group[data-key]")) {
    const { key, word, tone } = group.dataset;
    const cards = falling.filter((image) => keyOf(image, threshold) === key).map((image) => image.card);
    // Misses rise: the lowest score is the worst of them.
    if (key === "d0") cards.reverse();
    arrange(group.querySelector(".cards"), cards);
    group.querySelector(".count").textContent = cards.length;
    for (const card of cards) {
      const verdict = card.querySelector(".verdict");
      verdict.textContent = word;
      verdict.className = `verdict ${tone}`;
      card.classList.toggle("passed", key.endsWith("0"));
    }
  }
  searchAgain();
}

const slider = $("#slider");

function show(threshold) {
  const tried = threshold !== own;
  document.body.classList.toggle("tried", tried);
  const value = threshold === null ? "none" : rounded(threshold);
  for (const place of $$("[data-said=value]")) place.textContent = value;
  const counts = threshold === null ? null : verdictsAt(threshold);
  const words = counts ? inWords(counts) : "";
  $("[data-said=counts]").textContent = words;
  $("[data-said=promise]").textContent = threshold === null ? "" : promiseAt(threshold);
  $("[data-said=command]").textContent = tried ? `${$("#try").dataset.command} ${threshold}` : "";
  slider.setAttribute("aria-valuetext", `${value}${tried ? "" : ", the run's own"}${words && `: ${words}`}`);
  for (const cell of $$("[data-count]")) cell.textContent = counts ? counts[cell.dataset.count] : "";
  for (const ending of $$("[data-only=several]")) ending.hidden = counts?.alarms === 1;
  for (const table of $$(".counts")) table.hidden = !counts;
  for (const element of $$("[data-only=tried]")) element.hidden = !tried;
  $("#reset").disabled = !tried;
  movePlots(threshold);
  regroup(threshold);
}

function reset() {
  slider.value = own === null ? steps.length - 1 : steps.indexOf(own);
  show(own);
}

if (steps.length > 1) {
  slider.max = steps.length - 1;
  for (const element of $$(".trying")) element.hidden = false;
  slider.addEventListener("input", () => show(steps[slider.value]));
  $("#reset").addEventListener("click", () => {
    reset();
    // The button is of no more use, and would take the focus with it.
    slider.focus();
  });
  // A browser keeps the slider's place when the page is loaded again.
  reset();
}
