"use strict";

const $ = (selector) => document.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const known = JSON.parse($("#known").textContent);

const SMALLEST = 16; // pixels of a side of what is looked at
const DENSE = 2; // pixels of a photograph, on each side, that a pixel of a model should cover at most
const MOST = 64; // tiles in a row or a column
const STEP = 32; // what sides of a chosen size are multiples of
const GREY = 128; // what ignored pixels become
const FINE = 16384; // parts of a level that values are rounded to before they are rounded to levels
const LONGEST = 40; // letters of a zone's name
const MOST_ZONES = 64;
const KEPT = 30; // steps that can be undone

/* The rules of adcli, which its tests compare with these. Sizes are [height, width]. */

function findOverlap(side, share) {
  return Math.min(Math.floor(side * share + 0.5), Math.floor(side / 2));
}

function layOut([height, width], columns, rows, share) {
  const [down, across] = [height - findOverlap(height, share), width - findOverlap(width, share)];
  const corners = [];
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) corners.push([row * down, column * across]);
  return { corners, canvas: [height + (rows - 1) * down, width + (columns - 1) * across] };
}

function findBorders([high, wide], [rows, columns]) {
  const down = Math.max(Math.floor((2 * wide * rows + columns) / (2 * columns)) - high, 0);
  const across = Math.max(Math.floor((2 * high * columns + rows) / (2 * rows)) - wide, 0);
  return [[Math.floor(down / 2), Math.ceil(down / 2)], [Math.floor(across / 2), Math.ceil(across / 2)]];
}

function chooseTiles(part, size, share) {
  const [rows, columns] = part.map((whole, i) =>
    1 + Math.max(Math.ceil((whole / DENSE - size[i]) / (size[i] - findOverlap(size[i], share))), 0));
  return [columns, rows];
}

function around(side) {
  const low = Math.max(Math.floor(side / STEP), 1) * STEP;
  return [low, low + STEP];
}

function chooseSize(part, standard, [columns, rows], share) {
  const [down, across] = [rows, columns].map((count) => 1 + (count - 1) * (1 - share));
  const [aspect, pixels] = [part[0] / down / (part[1] / across), standard[0] * standard[1]];
  const [heights, widths] = [aspect, 1 / aspect].map((ratio) => around(Math.sqrt(pixels * ratio)));
  // If one side cannot be short enough, the other is.
  const candidates = heights.flatMap((height) => [...widths, ...around(pixels / height)].map((width) => [height, width]));
  candidates.push(...widths.flatMap((width) => around(pixels / width).map((height) => [height, width])));
  let [best, least] = [standard, Infinity];
  for (const [height, width] of candidates) {
    const miss = Math.abs(Math.log(height / width / aspect)) + 2 * Math.abs(Math.log((height * width) / pixels));
    if (miss < least) [best, least] = [[height, width], miss];
  }
  return best;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return Math.floor(sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2);
}

// The median height and width of what is looked at, of zones the largest, in photographs that have all zones.
function findTypical(sizes, zones) {
  const [heights, widths] = [[], []];
  for (const [height, width, number] of sizes) {
    if (zones.some((zone) => zone.x + zone.width > width || zone.y + zone.height > height)) continue;
    const parts = zones.length ? zones : [{ width, height }];
    const largest = parts.reduce((best, part) => (part.width * part.height > best.width * best.height ? part : best));
    for (let i = 0; i < number; i++) {
      heights.push(largest.height);
      widths.push(largest.width);
    }
  }
  return heights.length ? [median(heights), median(widths)] : null;
}

// Flags at another size, by the nearest pixel.
function scaleFlags(flags, [height, width], [high, wide]) {
  if (height === high && width === wide) return flags;
  const scaled = new Uint8Array(high * wide);
  const places = (count, old) => Array.from({ length: count }, (_, i) => Math.floor(((2 * i + 1) * old) / (2 * count)));
  const columns = places(wide, width);
  places(high, height).forEach((row, y) => {
    for (let x = 0; x < wide; x++) scaled[y * wide + x] = flags[row * width + columns[x]];
  });
  return scaled;
}

// What the output lines of a side are made of: input lines, and how much each counts; borders repeat the outermost.
function weighLines(start, length, [before, after], count) {
  const [low, high] = [Math.floor(start + 1e-6), Math.ceil(start + length - 1e-6)];
  const [first, last] = [low - Math.round(before), high - 1 + Math.round(after)];
  const scale = (before + length + after) / count;
  const support = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const centre = start - before + (i + 0.5) * scale;
    const [lines, weights] = [[], []];
    let total = 0;
    for (let line = Math.max(Math.ceil(centre - support - 0.5), first); line <= Math.min(Math.floor(centre + support - 0.5), last); line++) {
      const weight = Math.max(1 - Math.abs(line + 0.5 - centre) / support, 0);
      if (weight) {
        lines.push(clamp(line, low, high - 1));
        weights.push(weight);
        total += weight;
      }
    }
    return { lines, weights: weights.map((weight) => weight / total) };
  });
}

function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

// Antialiased bilinear resizing of RGBA levels, lines first; returns RGBA.
function resample(levels, width, rows, columns) {
  const sides = columns.flatMap(({ lines }) => lines);
  const [left, right] = [Math.min(...bounds(sides)), Math.max(...bounds(sides)) + 1];
  const sums = new Float64Array((right - left) * 3);
  const resized = new Uint8ClampedArray(rows.length * columns.length * 4);
  rows.forEach((row, y) => {
    sums.fill(0);
    row.lines.forEach((line, k) => {
      const weight = row.weights[k];
      for (let x = left, from = (line * width + left) * 4, to = 0; x < right; x++, from += 4, to += 3) {
        sums[to] += weight * levels[from];
        sums[to + 1] += weight * levels[from + 1];
        sums[to + 2] += weight * levels[from + 2];
      }
    });
    columns.forEach((column, x) => {
      const place = (y * columns.length + x) * 4;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let k = 0; k < column.lines.length; k++) sum += column.weights[k] * sums[(column.lines[k] - left) * 3 + channel];
        resized[place + channel] = roundEven(roundEven(sum * FINE) / FINE);
      }
      resized[place + 3] = 255;
    });
  });
  return resized;
}

function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/* State */

const first = known.shots[0];
const { area } = known; // of the picture of ignored areas
const state = {
  zones: known.zones.map((zone) => ({ ...zone })),
  mask: new Uint8Array(area[0] * area[1]),
  marked: 0, // pixels of it that are ignored
};
let saved = state.mask; // the ignored areas that lie in a file, or none
let shot = first;
let photo = null; // levels of the shown photograph, RGBA
let chosen = -1;
let mode = "zones";
let [past, future] = [[], []];

const copyState = () => ({ ...state, zones: structuredClone(state.zones) });

function remember() {
  past.push(copyState());
  if (past.length > KEPT) past.shift();
  future = [];
}

function travel(from, to) {
  if (!from.length) return;
  to.push(copyState());
  Object.assign(state, from.pop());
  chosen = Math.min(chosen, state.zones.length - 1);
  drawMask();
  listZones();
  update();
}

const looked = () => (state.zones.length ? state.zones : [{ name: "", x: 0, y: 0, width: shot.width, height: shot.height }]);
const nameOf = (zone, i) => zone.name || (state.zones.length > 1 ? `zone ${i + 1}` : state.zones.length ? "the zone" : "the photograph");

/* Size and tiles */

const model = () => known.models[$("#model").value];
const number = (id, otherwise) => {
  const field = $(`#${id}`);
  return field.value !== "" && field.validity.valid ? Number(field.value) : otherwise;
};

// The settings as they are in force: [height, width] of the model, columns and rows, overlap.
function inForce() {
  const [zone] = looked();
  const part = findTypical(known.sizes, state.zones) ?? [zone.height, zone.width];
  const how = $("#size-how").value;
  const cut = $("#tiles-how").value;
  const overlap = number("overlap", 0.125);
  let tiles = cut === "other" ? [number("columns", 1), number("rows", 1)] : [1, 1];
  let { size } = model();
  if (how === "auto" || (how === "usual" && model().shaped)) size = chooseSize(part, size, tiles, overlap);
  if (how === "other") size = [number("size-height", size[0]), number("size-width", size[1])];
  const wanted = cut === "auto" ? chooseTiles(part, size, overlap) : tiles;
  tiles = wanted.map((count) => Math.min(count, MOST));
  return { part, size, tiles, overlap, canvas: layOut(size, tiles[0], tiles[1], overlap).canvas, lacking: Math.max(...wanted) > MOST };
}

const show = (id, value, enabled) => {
  const field = $(`#${id}`);
  field.disabled = !enabled;
  if (!enabled || document.activeElement !== field) field.value = value;
};

function showSettings({ size, tiles }) {
  const other = $("#size-how").value === "other";
  if (!other || $("#size-height").validity.valid) show("size-height", size[0], other);
  if (!other || $("#size-width").validity.valid) show("size-width", size[1], other);
  const cut = $("#tiles-how").value;
  show("columns", cut === "other" ? $("#columns").value : tiles[0], cut === "other");
  show("rows", cut === "other" ? $("#rows").value : tiles[1], cut === "other");
  $("#overlap").disabled = cut === "one";
}

/* The photograph, and what lies over it */

const [stage, drawn, painted] = [$("#stage"), $("#drawn"), $("#painted")];
const share = (value, whole) => `${(100 * value) / whole}%`;
const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

function place(element, { x, y, width, height }) {
  const { style } = element;
  [style.left, style.top] = [share(x, shot.width), share(y, shot.height)];
  [style.width, style.height] = [share(width, shot.width), share(height, shot.height)];
}

// The part of a photograph that a canvas shows, with the borders of a letterbox.
function withBorders(zone, canvas) {
  const plain = $("#fit").value === "squash";
  const [[top, bottom], [left, right]] = plain ? [[0, 0], [0, 0]] : findBorders([zone.height, zone.width], canvas);
  const box = { x: zone.x - left, y: zone.y - top, width: left + zone.width + right, height: top + zone.height + bottom };
  return { box, rows: [top, bottom], columns: [left, right] };
}

const HANDLES = { nw: [0, 0], n: [0.5, 0], ne: [1, 0], e: [1, 0.5], se: [1, 1], s: [0.5, 1], sw: [0, 1], w: [0, 0.5] };

function drawZones() {
  const boxes = $$(".zone", stage);
  for (const box of boxes.slice(state.zones.length)) box.remove();
  state.zones.forEach((zone, i) => {
    const box = boxes[i] ?? makeBox(i);
    place(box, zone);
    box.classList.toggle("chosen", i === chosen);
    box.firstChild.textContent = zone.name;
    box.firstChild.hidden = !zone.name;
    box.setAttribute("aria-label", `Zone ${zone.name || i + 1}: ${zone.width} x ${zone.height} pixels at ${zone.x}, ${zone.y}`);
  });
}

function makeBox(i) {
  const box = document.createElement("div");
  box.className = "zone";
  box.tabIndex = 0;
  box.dataset.zone = i;
  box.setAttribute("role", "group");
  box.setAttribute("aria-describedby", "help");
  box.append(document.createElement("b"));
  for (const [name, [x, y]] of Object.entries(HANDLES)) {
    const handle = document.createElement("i");
    handle.dataset.handle = name;
    [handle.style.left, handle.style.top] = [`${100 * x}%`, `${100 * y}%`];
    handle.style.cursor = `${name}-resize`;
    box.append(handle);
  }
  box.addEventListener("focus", () => choose(i));
  stage.insertBefore(box, $("#brush"));
  return box;
}

function drawGrid({ size, tiles, overlap, canvas }) {
  const holes = looked().map(({ x, y, width, height }) => svg("rect", { x, y, width, height, fill: "#000" }));
  $("#holes").replaceChildren(svg("rect", { width: "100%", height: "100%", fill: "#fff" }), ...holes);
  drawn.setAttribute("viewBox", `0 0 ${shot.width} ${shot.height}`);
  const shapes = [];
  const { corners } = layOut(size, tiles[0], tiles[1], overlap);
  for (const zone of corners.length > 1 ? looked() : []) {
    const { box } = withBorders(zone, canvas);
    const [down, across] = [box.height / canvas[0], box.width / canvas[1]];
    for (const [row, column] of corners) {
      const tile = { x: box.x + column * across, y: box.y + row * down, width: size[1] * across, height: size[0] * down };
      shapes.push(svg("rect", { ...tile, class: "seam" }));
    }
    // Where tiles overlap, as bands across all of them.
    const bands = (at, side, count) => Array.from({ length: count - 1 }, (_, i) => {
      const common = findOverlap(side, overlap);
      return [at + (i + 1) * (side - common), common];
    });
    for (const [from, length] of bands(0, size[1], tiles[0])) {
      shapes.push(svg("rect", { x: box.x + from * across, y: box.y, width: length * across, height: box.height, class: "cell" }));
    }
    for (const [from, length] of bands(0, size[0], tiles[1])) {
      shapes.push(svg("rect", { x: box.x, y: box.y + from * down, width: box.width, height: length * down, class: "cell" }));
    }
  }
  $("#grid").replaceChildren(...shapes);
}

/* What the model sees */

function hide(levels, flags) {
  const hidden = levels.slice();
  for (let i = 0; i < flags.length; i++) if (flags[i]) hidden.fill(GREY, 4 * i, 4 * i + 3);
  return hidden;
}

// What a model gets of a zone, or the canvas of its tiles: RGBA levels.
function look(levels, zone, canvas) {
  const [down, across] = [shot.shown_height / shot.height, shot.shown_width / shot.width];
  const { rows, columns } = withBorders(zone, canvas);
  return resample(
    levels, shot.shown_width,
    weighLines(zone.y * down, zone.height * down, rows.map((count) => count * down), canvas[0]),
    weighLines(zone.x * across, zone.width * across, columns.map((count) => count * across), canvas[1]),
  );
}

function drawSeen({ canvas }) {
  if (!photo) return;
  const flags = state.marked ? scaleFlags(state.mask, area, [shot.shown_height, shot.shown_width]) : null;
  const levels = flags ? hide(photo, flags) : photo;
  const zones = looked();
  const views = $$(".view", $("#seen"));
  for (const view of views.slice(zones.length)) view.remove();
  zones.forEach((zone, i) => {
    const view = views[i] ?? document.createElement("div");
    if (!views[i]) {
      view.className = "view";
      view.append(document.createElement("canvas"));
      $("#seen").append(view);
    }
    place(view, zone);
    const { box } = withBorders(zone, canvas);
    const seen = view.firstChild;
    [seen.style.left, seen.style.top] = [share(box.x - zone.x, zone.width), share(box.y - zone.y, zone.height)];
    [seen.style.width, seen.style.height] = [share(box.width, zone.width), share(box.height, zone.height)];
    [seen.height, seen.width] = canvas;
    // It is drawn by the processor anyway.
    seen.getContext("2d", { willReadFrequently: true }).putImageData(new ImageData(look(levels, zone, canvas), canvas[1], canvas[0]), 0, 0);
  });
}

const rounded = (value) => String(Number(value < 10 ? value.toFixed(1) : value.toFixed(0)));

function covered(zone, canvas) {
  const { box } = withBorders(zone, canvas);
  return { across: box.width / canvas[1], down: box.height / canvas[0] };
}

function saySeen({ size, tiles, canvas }) {
  const lines = looked().map((zone, i) => {
    const { across, down } = covered(zone, canvas);
    const line = document.createElement("p");
    const defect = number("defect", 20);
    const figure = document.createElement("strong");
    figure.textContent = `${rounded(across)} x ${rounded(down)} pixels`;
    figure.className = "covered";
    const cut = tiles[0] * tiles[1] > 1 ? `${tiles[0]} x ${tiles[1]} tiles of ${size[1]} x ${size[0]}` : `${size[1]} x ${size[0]} pixels`;
    line.append(
      `Of ${nameOf(zone, i)}, ${zone.width} x ${zone.height}, the model gets ${cut}: a pixel of the model covers `, figure,
      ` of the photograph; a defect of ${defect} pixels is ${rounded(defect / across)} x ${rounded(defect / down)} of the model's. `,
    );
    if (across * down > DENSE * DENSE) {
      const hint = document.createElement("span");
      hint.className = "coarse";
      hint.textContent = "Coarse: smaller defects show with tiles, a larger size or a smaller zone.";
      line.append(hint);
    }
    const shown = [zone.height * shot.shown_height / shot.height, zone.width * shot.shown_width / shot.width];
    if ((canvas[0] > shown[0] + 1 || canvas[1] > shown[1] + 1) && shot.shown_width < shot.width) {
      line.append(` The model sees it finer than this page, which has the photograph at ${shot.shown_width} x ${shot.shown_height}.`);
    }
    return line;
  });
  $("#seen-said").replaceChildren(...lines);
}

/* Words */

function findProblems({ lacking }) {
  const problems = [];
  const named = (zone, i) => (zone.name ? `Zone ${zone.name}` : state.zones.length > 1 ? `Zone ${i + 1}` : "The zone");
  const small = known.sizes.filter(([height, width]) =>
    state.zones.some((zone) => zone.x + zone.width > width || zone.y + zone.height > height));
  if (small.length) {
    const count = small.reduce((sum, size) => sum + size[2], 0);
    const [height, width] = small[0];
    problems.push(`${count} ${count === 1 ? "photograph is" : "photographs are"} too small for the zones, such as one of ${width} x ${height}: 'adcli train' would refuse ${count === 1 ? "it" : "them"}.`);
  }
  if (state.marked) {
    const odd = known.sizes.filter(([height, width]) => {
      const [one, other] = [height * first.width, width * first.height];
      return Math.abs(one - other) > 0.02 * Math.max(one, other);
    });
    const count = odd.reduce((sum, size) => sum + size[2], 0);
    if (count) problems.push(`${count} ${count === 1 ? "photograph has" : "photographs have"} another shape than ${first.width} x ${first.height}, for which the ignored areas are: 'adcli train' would refuse ${count === 1 ? "it" : "them"}.`);
    const [down, across] = [area[0] / first.height, area[1] / first.width];
    looked().forEach((zone, i) => {
      const [top, bottom] = [Math.floor(zone.y * down), Math.ceil((zone.y + zone.height) * down)];
      const [left, right] = [Math.floor(zone.x * across), Math.ceil((zone.x + zone.width) * across)];
      for (let y = top; y < Math.min(bottom, area[0]); y++) {
        if (state.mask.subarray(y * area[1] + left, y * area[1] + Math.min(right, area[1])).includes(0)) return;
      }
      problems.push(`${state.zones.length ? named(zone, i) : "Everything"} is ignored altogether: nothing is left to look at.`);
    });
  }
  if (state.zones.length > MOST_ZONES) problems.push(`There may be ${MOST_ZONES} zones, not ${state.zones.length}.`);
  if (lacking) problems.push(`More than ${MOST} tiles a side would be needed; choose a larger size.`);
  if ($$("input:invalid").length) problems.push("A number is out of its bounds; the last good value, or the default, is used instead.");
  return problems;
}

function quote(word) {
  if (/^[\p{L}\p{N}_@%+=:,./-]+$/u.test(word)) return word;
  return known.windows ? `"${word}"` : `'${word.replaceAll("'", `'"'"'`)}'`;
}

function ignoreFile() {
  const file = $("#ignore-file").value.trim() || "ignore.png";
  return file.startsWith("-") ? `./${file}` : file;
}

function sayCommand({ size, tiles, overlap }) {
  const words = ["adcli train --model", quote($("#model").value), known.command];
  for (const { name, x, y, width, height } of state.zones) {
    words.push("--region", `${name && `${name}=`}${[x, y, width, height].join(",")}`);
  }
  if ($("#fit").value !== "squash") words.push("--fit", $("#fit").value);
  if (tiles[0] * tiles[1] > 1) {
    words.push("--tiles", tiles.join("x"));
    if (overlap !== 0.125) words.push("--tile-overlap", String(overlap));
  }
  words.push("--image-size", size.join("x"));
  const ignoring = state.marked > 0;
  if (ignoring) words.push("--ignore", quote(ignoreFile()));
  $("#command").textContent = words.filter(Boolean).join(" ");
  const unsaved = ignoring && saved !== state.mask;
  const ignored = state.marked / state.mask.length;
  const percent = ignored && ignored < 0.001 ? "less than 0.1" : (100 * ignored).toFixed(1);
  $("#ignored-said").textContent = ignoring
    ? `${percent} % of each photograph is ignored.${unsaved ? " Save the picture, which --ignore takes." : ""}`
    : "Nothing is ignored. Choose “Ignore” above, and paint over what changes from photograph to photograph and is no part: a clock, a clamp, a neighbour.";
  $("#copy-said").textContent = unsaved ? "Save the picture of the ignored areas first, and run this where it lies." : "";
  $("#save").disabled = $("#clear-ignored").disabled = !ignoring;
}

// What a pointer does, and what keys do.
const HELP = {
  zones: ["Drag on the photograph for a zone; drag a zone to move it, and its handles to resize it.", "Keys on a zone: arrows move it by 10 pixels, with Ctrl by 1, with Shift they resize it; Delete removes it."],
  paint: ["Paint over what is to be ignored in every photograph.", "Keys on the photograph: arrows move the brush, Space paints, [ and ] change its size."],
  erase: ["Rub out what was painted.", "Keys on the photograph: arrows move the brush, Space rubs out, [ and ] change its size."],
  look: ["Zoom in, and drag to look around.", "Ctrl and the mouse wheel zoom, too."],
};

const QUICK = 40; // milliseconds that a picture may take to follow the pointer
let waiting = 0;
let taken = 0;

function drawSoon() {
  const draw = () => {
    waiting = 0;
    const begun = performance.now();
    drawSeen(inForce());
    taken = performance.now() - begun;
  };
  if (taken > QUICK) {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  } else if (!waiting) waiting = setTimeout(draw, 15);
}

// Show all that follows from the state; what the model sees comes a little later, as many events may lie before it.
function update() {
  const force = inForce();
  showSettings(force);
  drawZones();
  drawGrid(force);
  saySeen(force);
  sayCommand(force);
  const problems = findProblems(force).join(" ");
  if ($("#warning").textContent !== problems) $("#warning").textContent = problems;
  $("#undo").disabled = !past.length;
  $("#redo").disabled = !future.length;
  drawSoon();
}

/* Zones */

// Numbers are whole pixels inside the photograph.
function fitZone(zone) {
  zone.width = clamp(Math.round(zone.width), Math.min(SMALLEST, shot.width), shot.width);
  zone.height = clamp(Math.round(zone.height), Math.min(SMALLEST, shot.height), shot.height);
  zone.x = clamp(Math.round(zone.x), 0, shot.width - zone.width);
  zone.y = clamp(Math.round(zone.y), 0, shot.height - zone.height);
}

function choose(i) {
  if (chosen === i) return;
  chosen = i;
  $$(".zone", stage).forEach((box, k) => box.classList.toggle("chosen", k === i));
  $$("#zones tbody tr").forEach((row, k) => row.classList.toggle("chosen", k === i));
}

// Several zones need names.
function nameZones() {
  if (state.zones.length < 2) return;
  const taken = new Set(state.zones.map((zone) => zone.name));
  let count = 1;
  for (const zone of state.zones) {
    while (!zone.name) {
      if (!taken.has(`zone${count}`)) zone.name = `zone${count}`;
      count += 1;
    }
  }
}

function addZone(zone) {
  fitZone(zone);
  state.zones.push(zone);
  nameZones();
  chosen = state.zones.length - 1;
  listZones();
  update();
}

function removeZone(i) {
  remember();
  state.zones.splice(i, 1);
  chosen = Math.min(i, state.zones.length - 1);
  listZones();
  update();
  ($$(".zone", stage)[chosen] ?? $("#add")).focus();
}

function listZones() {
  const body = $("#zones tbody");
  body.replaceChildren(...state.zones.map((zone, i) => {
    const row = document.createElement("tr");
    row.classList.toggle("chosen", i === chosen);
    row.addEventListener("focusin", () => choose(i));
    for (const key of ["name", "x", "y", "width", "height"]) row.insertCell().append(makeField(zone, i, key));
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "\u00d7";
    button.setAttribute("aria-label", `Remove zone ${zone.name || i + 1}`);
    button.addEventListener("click", () => removeZone(i));
    row.insertCell().append(button);
    return row;
  }));
  $("#zones").hidden = !state.zones.length;
  $("#zones-none").hidden = Boolean(state.zones.length);
  $("#clear-zones").disabled = !state.zones.length;
}

function makeField(zone, i, key) {
  const field = document.createElement("input");
  field.type = key === "name" ? "text" : "number";
  field.value = zone[key];
  field.setAttribute("aria-label", `${key} of zone ${zone.name || i + 1}`);
  if (key === "name") {
    field.spellcheck = false;
    field.placeholder = "none";
  }
  field.addEventListener("change", () => {
    remember();
    if (key === "name") {
      const others = state.zones.filter((other) => other !== state.zones[i]).map((other) => other.name);
      const wanted = field.value.trim().replace(/[^\p{L}\p{N}_.-]+/gu, "-").slice(0, LONGEST);
      let [name, count] = [wanted, 2];
      while (name && others.includes(name)) name = `${wanted.slice(0, LONGEST - 4)}-${count++}`;
      state.zones[i].name = name;
      nameZones();
    } else if (field.value !== "" && Number.isFinite(Number(field.value))) {
      state.zones[i][key] = Number(field.value);
      fitZone(state.zones[i]);
    }
    refreshFields();
    update();
  });
  return field;
}

function refreshFields() {
  $$("#zones tbody tr").forEach((row, i) => {
    ["name", "x", "y", "width", "height"].forEach((key, k) => {
      const field = row.cells[k].firstChild;
      field.value = state.zones[i][key];
    });
  });
}

/* Dragging */

let drag = null;

function pointAt(event) {
  const box = stage.getBoundingClientRect();
  return {
    x: clamp(((event.clientX - box.left) / box.width) * shot.width, 0, shot.width),
    y: clamp(((event.clientY - box.top) / box.height) * shot.height, 0, shot.height),
  };
}

function pulled(start, handle, dx, dy) {
  let [left, top, right, bottom] = [start.x, start.y, start.x + start.width, start.y + start.height];
  if (handle.includes("w")) left = clamp(Math.round(left + dx), 0, right - SMALLEST);
  if (handle.includes("e")) right = clamp(Math.round(right + dx), left + SMALLEST, shot.width);
  if (handle.includes("n")) top = clamp(Math.round(top + dy), 0, bottom - SMALLEST);
  if (handle.includes("s")) bottom = clamp(Math.round(bottom + dy), top + SMALLEST, shot.height);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

function begin(event) {
  // A finger scrolls by itself.
  if (event.button !== 0 || drag || (mode === "look" && event.pointerType !== "mouse")) return;
  const at = pointAt(event);
  stage.setPointerCapture(event.pointerId);
  if (mode === "look") {
    drag = { kind: "look", x: event.clientX, y: event.clientY };
    return;
  }
  if (mode !== "zones") {
    event.preventDefault();
    stage.focus({ preventScroll: true });
    remember();
    state.mask = state.mask.slice();
    drag = { kind: "brush", at };
    moveBrush(at);
    stroke(at, at);
    return;
  }
  const box = event.target.closest(".zone");
  if (!box) {
    event.preventDefault();
    drag = { kind: "new", at };
    return;
  }
  const i = Number(box.dataset.zone);
  choose(i);
  remember();
  drag = { kind: event.target.dataset.handle ?? "move", at, zone: i, start: { ...state.zones[i] } };
}

function go(event) {
  const at = pointAt(event);
  if (mode === "paint" || mode === "erase") moveBrush(at);
  if (!drag) return;
  if (drag.kind === "look") {
    stage.parentElement.scrollBy(drag.x - event.clientX, drag.y - event.clientY);
    [drag.x, drag.y] = [event.clientX, event.clientY];
    return;
  }
  if (drag.kind === "brush") {
    // All places that the pointer was at between two frames.
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const step of passed.length ? passed : [event]) {
      const next = pointAt(step);
      stroke(drag.at, next);
      drag.at = next;
    }
    return;
  }
  if (drag.kind === "new") {
    const [width, height] = [Math.abs(at.x - drag.at.x), Math.abs(at.y - drag.at.y)];
    if (Math.min(width, height) < SMALLEST) return;
    remember();
    const zone = { name: "", x: Math.min(at.x, drag.at.x), y: Math.min(at.y, drag.at.y), width, height };
    const corner = `${at.y < drag.at.y ? "n" : "s"}${at.x < drag.at.x ? "w" : "e"}`;
    addZone(zone);
    // From here on a corner is dragged; that there is a zone is something to undo.
    drag = { kind: corner, at, zone: chosen, start: { ...zone }, isNew: true };
    return;
  }
  const [dx, dy] = [at.x - drag.at.x, at.y - drag.at.y];
  const zone = state.zones[drag.zone];
  if (drag.kind === "move") {
    Object.assign(zone, { x: drag.start.x + dx, y: drag.start.y + dy });
    fitZone(zone);
  } else Object.assign(zone, pulled(drag.start, drag.kind, dx, dy));
  refreshFields();
  update();
}

function end() {
  if (!drag) return;
  const { kind, zone, start, isNew } = drag;
  drag = null;
  if (kind === "new") {
    choose(-1);
    return;
  }
  if (kind !== "brush" && kind !== "look") {
    const now = state.zones[zone];
    // A mere click is nothing to undo.
    if (!isNew && ["x", "y", "width", "height"].every((key) => now[key] === start[key])) past.pop();
    $$(".zone", stage)[zone].focus({ preventScroll: true });
    $("#said").textContent = $$(".zone", stage)[zone].getAttribute("aria-label");
  }
  update();
}

stage.addEventListener("pointerdown", begin);
stage.addEventListener("pointermove", go);
stage.addEventListener("pointerup", end);
stage.addEventListener("pointercancel", end);
stage.addEventListener("pointerleave", () => {
  if (!drag) $("#brush").style.display = "none";
});

/* Keys */

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function pressOnZone(event, i) {
  const arrow = ARROWS[event.key];
  if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    removeZone(i);
  } else if (arrow && !event.altKey && !event.metaKey) {
    event.preventDefault();
    remember();
    const step = event.ctrlKey ? 1 : 10;
    const [across, down] = event.shiftKey ? ["width", "height"] : ["x", "y"];
    const zone = state.zones[i];
    zone[across] += step * arrow[0];
    zone[down] += step * arrow[1];
    if (event.shiftKey) {
      zone.width = Math.min(zone.width, shot.width - zone.x);
      zone.height = Math.min(zone.height, shot.height - zone.y);
    }
    fitZone(zone);
    refreshFields();
    update();
    $("#said").textContent = $$(".zone", stage)[i].getAttribute("aria-label");
  }
}

function pressOnStage(event) {
  const arrow = ARROWS[event.key];
  const from = brushAt ?? { x: shot.width / 2, y: shot.height / 2 };
  if (arrow) {
    const step = event.ctrlKey ? 1 : Math.max(brushSize() / 2, 1);
    const to = { x: clamp(from.x + step * arrow[0], 0, shot.width), y: clamp(from.y + step * arrow[1], 0, shot.height) };
    moveBrush(to);
    $("#said").textContent = `${Math.round(to.x)}, ${Math.round(to.y)}`;
  } else if (event.key === " ") {
    remember();
    state.mask = state.mask.slice();
    moveBrush(from);
    stroke(from, from);
    update();
  } else if (event.key === "[" || event.key === "]") {
    const slider = $("#brush-size");
    slider.value = Number(slider.value) + (event.key === "]" ? 3 : -3);
    resizeBrush();
  } else return;
  event.preventDefault();
}

stage.addEventListener("keydown", (event) => {
  const box = event.target.closest(".zone");
  if (box && mode === "zones") pressOnZone(event, Number(box.dataset.zone));
  else if (event.target === stage && (mode === "paint" || mode === "erase")) pressOnStage(event);
});

document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("input[type=text], input[type=number]")) return;
  const key = event.key.toLowerCase();
  if (key === "z" || key === "y") {
    event.preventDefault();
    if (key === "y" || event.shiftKey) travel(future, past);
    else travel(past, future);
  }
});

/* Painting */

let brushAt = null;
let overlay = new ImageData(area[1], area[0]);
const COLOUR = [255, 0, 144, 150];

// From one pixel of the photograph's picture to a third of its shorter side.
function brushSize() {
  const [least, most] = [Math.max(first.width / area[1], 1), Math.max(Math.min(first.width, first.height) / 3, 2)];
  return least * (most / least) ** (Number($("#brush-size").value) / 100);
}

function moveBrush(at) {
  brushAt = at;
  const { style } = $("#brush");
  const size = brushSize();
  style.display = "block";
  [style.left, style.top] = [share(at.x, shot.width), share(at.y, shot.height)];
  [style.width, style.height] = [share(size, first.width), share(size, first.height)];
}

function resizeBrush() {
  $("#brush-said").textContent = `${Math.round(brushSize())} pixels`;
  if (brushAt && mode !== "zones" && mode !== "look") moveBrush(brushAt);
}

function mark(i, flag) {
  state.marked += flag - state.mask[i];
  state.mask[i] = flag;
}

// Paint, or rub out, all pixels whose centres lie within half a brush of a line; at least the one that it begins in.
function stroke(from, to) {
  const [height, width] = area;
  const radius = (brushSize() / 2) * (width / first.width);
  const scale = ({ x, y }) => [(x / shot.width) * width, (y / shot.height) * height];
  const [[x0, y0], [x1, y1]] = [scale(from), scale(to)];
  const flag = mode === "erase" ? 0 : 1;
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const top = clamp(Math.floor(Math.min(y0, y1) - radius), 0, height - 1);
  const bottom = clamp(Math.ceil(Math.max(y0, y1) + radius), top + 1, height);
  const left = clamp(Math.floor(Math.min(x0, x1) - radius), 0, width - 1);
  const right = clamp(Math.ceil(Math.max(x0, x1) + radius), left + 1, width);
  const at = clamp(Math.floor(y1), 0, height - 1) * width + clamp(Math.floor(x1), 0, width - 1);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
      const along = length ? clamp((px * dx + py * dy) / length, 0, 1) : 0;
      const [ex, ey] = [px - along * dx, py - along * dy];
      if (ex * ex + ey * ey <= radius * radius) mark(y * width + x, flag);
    }
  }
  mark(at, flag);
  drawMask({ top, bottom, left, right });
  update();
}

function drawMask(part) {
  const [height, width] = area;
  const { top, bottom, left, right } = part ?? { top: 0, bottom: height, left: 0, right: width };
  const colour = new Uint32Array(new Uint8Array(COLOUR).buffer)[0];
  const pixels = new Uint32Array(overlay.data.buffer);
  for (let y = top; y < bottom; y++) {
    for (let i = y * width + left; i < y * width + right; i++) pixels[i] = state.mask[i] ? colour : 0;
  }
  painted.getContext("2d").putImageData(overlay, 0, 0, left, top, right - left, bottom - top);
}

/* The picture of ignored areas: a PNG of one bit a pixel, written here, as browsers may alter what they encode. */

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function big(value) {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function chunk(kind, content) {
  const whole = new Uint8Array(content.length + 12);
  whole.set(big(content.length), 0);
  whole.set(new TextEncoder().encode(kind), 4);
  whole.set(content, 8);
  let crc = 0xffffffff;
  for (const byte of whole.subarray(4, content.length + 8)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  whole.set(big(~crc >>> 0), content.length + 8);
  return whole;
}

// A stream of zlib that is not compressed.
function store(content) {
  const blocks = [Uint8Array.of(0x78, 0x01)];
  for (let from = 0; from < content.length; from += 65535) {
    const block = content.subarray(from, from + 65535);
    const last = from + 65535 >= content.length ? 1 : 0;
    const length = block.length;
    blocks.push(Uint8Array.of(last, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255), block);
  }
  let [a, b] = [1, 0];
  for (const byte of content) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return join([...blocks, Uint8Array.from([b >> 8, b & 255, a >> 8, a & 255])]);
}

function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function encodeFlags(flags, [height, width]) {
  const stride = 1 + Math.ceil(width / 8);
  const lines = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) if (flags[y * width + x]) lines[y * stride + 1 + (x >> 3)] |= 128 >> (x & 7);
  }
  const header = Uint8Array.from([...big(width), ...big(height), 1, 0, 0, 0, 0]);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  return join([signature, chunk("IHDR", header), chunk("IDAT", store(lines)), chunk("IEND", new Uint8Array(0))]);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([encodeFlags(state.mask, area)], { type: "image/png" }));
  link.download = ignoreFile().split(/[\\/]/).pop().replace(/(\.png)?$/i, ".png");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  saved = state.mask;
  update();
  $("#said").textContent = `${link.download} is saved.`;
}

/* Photographs and controls */

async function open(i) {
  shot = known.shots[i];
  const image = $("#photo");
  const source = $(`[data-shot="${i}"] img`).src;
  for (const button of $$("[data-shot]")) button.setAttribute("aria-pressed", String(Number(button.dataset.shot) === i));
  image.src = source;
  image.alt = `${shot.name}, with the zones and ignored areas`;
  await image.decode();
  if (shot !== known.shots[i]) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [shot.shown_width, shot.shown_height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  photo = context.getImageData(0, 0, canvas.width, canvas.height).data;
  for (const plane of $$(".plane")) plane.style.setProperty("--aspect", `${shot.width} / ${shot.height}`);
  $(".panes").classList.toggle("stacked", shot.width > 2 * shot.height);
  $("#photo-said").textContent = `${shot.name}: ${shot.width} x ${shot.height} pixels${shot.kind && `, ${shot.kind}`}.`;
  update();
}

function setMode(next) {
  mode = next;
  for (const name of ["paint", "erase", "look"]) stage.classList.toggle(name, mode === name);
  const brushing = mode === "paint" || mode === "erase";
  stage.tabIndex = brushing ? 0 : -1;
  for (const box of $$(".zone", stage)) box.tabIndex = mode === "zones" ? 0 : -1;
  if (!brushing) $("#brush").style.display = "none";
  [$("#help").firstElementChild.textContent, $("#help").lastElementChild.textContent] = HELP[mode];
}

// Both planes show the same place.
function zoom() {
  const panes = $$(".pane");
  const [pane] = panes;
  const middle = [(pane.scrollLeft + pane.clientWidth / 2) / pane.scrollWidth, (pane.scrollTop + pane.clientHeight / 2) / pane.scrollHeight];
  for (const plane of $$(".plane")) plane.style.setProperty("--zoom", $("#zoom").value);
  for (const each of panes) {
    each.scrollLeft = middle[0] * each.scrollWidth - each.clientWidth / 2;
    each.scrollTop = middle[1] * each.scrollHeight - each.clientHeight / 2;
  }
}

async function copy() {
  const code = $("#command");
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  const said = $("#copy-said");
  said.textContent = `Copied. ${said.textContent.replace(/^Copied\. /, "")}`;
}

async function readIgnored() {
  if (!known.ignored) return;
  const image = new Image();
  image.src = known.ignored;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = area;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, area[1], area[0]);
  for (let i = 0; i < state.mask.length; i++) mark(i, data[4 * i] > 127 ? 1 : 0);
  saved = state.mask;
}

function begins() {
  $("#fit").value = known.fit;
  $("#overlap").value = known.overlap;
  $("#tiles-how").value = known.tiles === "auto" ? "auto" : known.tiles ? "other" : "one";
  [$("#columns").value, $("#rows").value] = known.tiles && known.tiles !== "auto" ? known.tiles.toLowerCase().split("x") : [1, 1];
  const size = known.image_size;
  $("#size-how").value = size === null ? "usual" : size === "auto" ? "auto" : "other";
  [$("#size-height").value, $("#size-width").value] = Array.isArray(size) ? size : model().size;
  $("#ignore-file").value = known.ignore || "ignore.png";
}

function listen() {
  for (const button of $$("[data-shot]")) button.addEventListener("click", () => open(Number(button.dataset.shot)));
  for (const radio of $$("[name=mode]")) radio.addEventListener("change", () => setMode(radio.value));
  for (const id of ["model", "fit", "size-how", "size-width", "size-height", "tiles-how", "columns", "rows", "overlap", "defect", "ignore-file"]) {
    $(`#${id}`).addEventListener("input", update);
    $(`#${id}`).addEventListener("change", update);
  }
  $("#brush-size").addEventListener("input", resizeBrush);
  $("#zoom").addEventListener("input", zoom);
  $("#undo").addEventListener("click", () => travel(past, future));
  $("#redo").addEventListener("click", () => travel(future, past));
  $("#save").addEventListener("click", save);
  $("#copy").addEventListener("click", copy);
  $("#add").addEventListener("click", () => {
    remember();
    addZone({ name: "", x: shot.width / 4, y: shot.height / 4, width: shot.width / 2, height: shot.height / 2 });
    $$(".zone", stage)[chosen].focus({ preventScroll: true });
  });
  $("#clear-zones").addEventListener("click", () => {
    remember();
    state.zones = [];
    chosen = -1;
    listZones();
    update();
  });
  $("#clear-ignored").addEventListener("click", () => {
    remember();
    Object.assign(state, { mask: new Uint8Array(state.mask.length), marked: 0 });
    drawMask();
    update();
  });
  const panes = $$(".pane");
  for (const pane of panes) {
    pane.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      $("#zoom").value = Number($("#zoom").value) * (event.deltaY < 0 ? 1.25 : 0.8);
      zoom();
    }, { passive: false });
    pane.addEventListener("scroll", () => {
      for (const other of panes) {
        // Setting what is so already raises no event.
        if (other !== pane) [other.scrollLeft, other.scrollTop] = [pane.scrollLeft, pane.scrollTop];
      }
    });
  }
}

async function start() {
  $("main").hidden = false;
  [painted.height, painted.width] = area;
  begins();
  await readIgnored();
  // A browser keeps what was chosen when a page is loaded again.
  $("[name=mode]").checked = true;
  setMode("zones");
  nameZones();
  resizeBrush();
  drawMask();
  listZones();
  listen();
  await open(0);
}

start();
