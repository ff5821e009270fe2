// What is on the page, and what one can do with it.
const find = id => document.getElementById(id);
const data = JSON.parse(find("data").textContent);
const decode = makeDecoder(data.model, find("weights").textContent);
const [channels, height, width] = data.shape;
let code = [], label = data.pictures[0]?.label ?? 0;
let picture = -1; // of which the code is, or was before it was changed
const ofLabel = () => data.priors[data.priors.length > 1 ? label : 0];

// ---- codes: draws of the prior, and what lies between two

function randomNumbers(seed) { // mulberry32: the same numbers of a seed in every browser
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
}

function draw(seed) {
  const random = randomNumbers(seed), prior = ofLabel();
  if (prior.draws) return prior.draws[Math.floor(random() * prior.draws.length)];
  if (prior.low) return prior.low.map((low, d) => low + (prior.high[d] - low) * random());
  let which = 0, left = random();
  while (which < prior.weights.length - 1 && left >= prior.weights[which]) left -= prior.weights[which++];
  return prior.mean[which].map((mean, d) =>
    mean + prior.sigma[which][d] * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

// On the great circle (White 2016), its radius from |a| to |b|; straight where there is none, the two being parallel.
function between(a, b, t) {
  const dot = (p, q) => p.reduce((sum, value, d) => sum + value * q[d], 0);
  const lengths = [a, b].map(code => Math.max(Math.sqrt(dot(code, code)), 1e-12));
  const cosine = dot(a, b) / (lengths[0] * lengths[1]), angle = Math.acos(Math.min(Math.max(cosine, -1), 1));
  const length = (1 - t) * lengths[0] + t * lengths[1], sine = Math.sin(angle), straight = sine < 1e-3;
  const [left, right] = [1 - t, t].map((share, end) =>
    straight ? share : length * Math.sin(share * angle) / (sine * lengths[end]));
  return a.map((value, d) => left * value + right * b[d]);
}

// ---- pictures: those that wait are decoded one after the other, the large one first, and never long enough for a
// slider to stick

const waiting = new Map();

function soon(canvas, task) {
  if (!waiting.size) requestAnimationFrame(work);
  waiting.set(canvas, task);
}

function work() {
  for (const begin = performance.now(); waiting.size && performance.now() - begin < 12;) {
    const canvas = waiting.has(find("picture")) ? find("picture") : waiting.keys().next().value;
    const task = waiting.get(canvas);
    waiting.delete(canvas);
    task();
  }
  if (waiting.size) requestAnimationFrame(work);
}

function paint(canvas, x) {
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), area = width * height;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * x[(channels === 3 ? c : 0) * area + i]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

const show = (canvas, make) => soon(canvas, () => paint(canvas, decode(make(), label)));

function element(tag, properties, parent) {
  const made = Object.assign(document.createElement(tag), properties);
  parent?.append(made);
  return made;
}

// ---- the code that is shown

function set(next, says, of = -1) {
  code = [...next];
  picture = of;
  find("says").textContent = says;
  [...find("pictures").children].forEach((button, i) => button.setAttribute("aria-pressed", i === picture));
  if (data.pictures.length) {
    find("original").hidden = picture < 0;
    find("nothing").hidden = picture >= 0;
    if (picture >= 0) find("original").src = data.pictures[picture].src;
  }
  data.sliders.forEach(({ dimension }, i) => {
    const [input, output] = sliders[i], value = code[dimension];
    input.min = Math.min(data.low[dimension], value);
    input.max = Math.max(data.high[dimension], value);
    input.value = value;
    output.textContent = value.toFixed(2);
  });
  show(find("picture"), () => code);
  if (data.low.length === 2) placeMark();
}

function change(next) {
  set(next, picture < 0 ? "changed by hand" : `picture ${picture + 1}, changed by hand`, picture);
}

const sliders = data.sliders.map(({ dimension, text }) => {
  const row = element("label", { className: "slider" }, find("sliders"));
  const head = element("span", {}, row);
  element("b", { textContent: `dimension ${dimension}` }, head);
  element("span", { className: "soft", textContent: text }, head);
  const output = element("output", {}, head), input = element("input", { type: "range", step: "any" }, row);
  input.addEventListener("input", () => change(code.map((value, d) => d === dimension ? +input.value : value)));
  input.addEventListener("keydown", event => { // without steps the arrow keys are the page's to understand
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    input.value = +input.value + way * (input.max - input.min) / 50;
    input.dispatchEvent(new Event("input"));
  });
  return [input, output];
});

data.pictures.forEach(({ src, code: its, label: own }, i) => {
  const title = `as picture ${i + 1}`;
  const button = element("button", { type: "button", className: "tile", title }, find("pictures"));
  element("img", { src, alt: title }, button);
  button.addEventListener("click", () => {
    if (data.labels.length) chooseLabel(own);
    set(its, `picture ${i + 1}, decoded`, i);
  });
});

find("random").addEventListener("click", () => set(draw(Math.random() * 2 ** 32), "a draw of the prior"));
find("middle").addEventListener("click", () => set(ofLabel().middle, "the prior's mean"));

function chooseLabel(next) {
  label = next;
  find("label").value = label;
  show(find("picture"), () => code);
  showEnds();
  showSamples();
  if (data.low.length === 2) showSpace();
}

data.labels.forEach((name, value) => element("option", { value, textContent: name }, find("label")));
find("label")?.addEventListener("change", event => chooseLabel(+event.target.value));

// ---- a space of two numbers: a field to drag in

const TILES = 9;
const pad = find("pad");

function placeMark() {
  const at = code.map((value, d) => 100 * (value - data.low[d]) / (data.high[d] - data.low[d]));
  Object.assign(find("mark").style, { left: `${at[0]}%`, bottom: `${at[1]}%` });
}

function showSpace() {
  const field = find("space"), small = element("canvas", { width, height });
  for (let row = 0; row < TILES; row++) for (let column = 0; column < TILES; column++)
    soon(`tile ${row} ${column}`, () => {
      const shares = [(column + 0.5) / TILES, 1 - (row + 0.5) / TILES];
      paint(small, decode(shares.map((share, d) => data.low[d] + share * (data.high[d] - data.low[d])), label));
      field.getContext("2d").drawImage(small, column * width, row * height);
    });
}

const inside = next => next.map((value, d) => Math.min(Math.max(value, data.low[d]), data.high[d]));

function drag(event) {
  const box = pad.getBoundingClientRect();
  const shares = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
  set(inside(shares.map((share, d) => data.low[d] + share * (data.high[d] - data.low[d]))), "chosen in the field");
}

pad?.addEventListener("pointerdown", event => { pad.setPointerCapture(event.pointerId); drag(event); });
pad?.addEventListener("pointermove", event => { if (event.buttons) drag(event); });
pad?.addEventListener("keydown", event => {
  const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (!way) return;
  event.preventDefault();
  set(inside(code.map((value, d) => value + way[d] * (data.high[d] - data.low[d]) / 50)), "chosen in the field");
});

// ---- between two codes

const kept = {};
const ends = ["a", "b"].map(name => find(name));

function endOf(select) {
  const [kind, number] = select.value.split(" ");
  return kind === "kept" ? kept[select.id] : kind === "picture" ? data.pictures[number - 1].code : draw(+number);
}

const way = () => between(...ends.map(endOf), +find("way").value / 100);
const showWay = () => show(find("on_way"), way);

function showEnds() {
  for (const select of ends) show(find(`at_${select.id}`), () => endOf(select));
  showWay();
}

ends.forEach((select, i) => {
  data.pictures.forEach((_, n) => element("option", { textContent: `picture ${n + 1}` }, select));
  for (let n = 1; n <= 8; n++) element("option", { textContent: `draw ${n}` }, select);
  select.selectedIndex = i;
  select.addEventListener("change", showEnds);
  find(`keep_${select.id}`).addEventListener("click", () => {
    kept[select.id] = [...code];
    if (![...select.options].some(option => option.value === "kept"))
      element("option", { value: "kept", textContent: "the picture above" }, select);
    select.value = "kept";
    showEnds();
  });
});
find("way").addEventListener("input", showWay);
find("above").addEventListener("click", () => set(way(), "from between"));

// ---- samples

const samples = Array.from({ length: 12 }, (_, i) => {
  const button = element("button", { type: "button", className: "tile", title: "show it above" }, find("samples"));
  const canvas = element("canvas", { width, height }, button);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `sample ${i + 1}`);
  button.addEventListener("click", () => set(sample(i), `sample ${i + 1} of seed ${find("seed").value}`));
  return canvas;
});
const sample = i => draw((+find("seed").value || 0) * samples.length + i + 1);
const showSamples = () => samples.forEach((canvas, i) => show(canvas, () => sample(i)));
find("seed").addEventListener("input", showSamples);
find("next").addEventListener("click", () => { find("seed").value = (+find("seed").value || 0) + 1; showSamples(); });

if (data.pictures.length) find("pictures").children[0].click();
else set(draw(1), "a draw of the prior");
showEnds();
showSamples();
if (data.low.length === 2) showSpace();
