// Looks at every page at every width in a frame, and tries the search; run by check_site.py.
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const faults = [];

function rgba(text) {
  const canvas = rgba.canvas ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));

function light(colour) {
  const linear = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

// WCAG 2.2 asks for 4.5, and 3 for large text.
function contrast(element, view) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(view.getComputedStyle(e).backgroundColor));
  const ground = layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  const ink = over(rgba(view.getComputedStyle(element).color), ground);
  const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}

function look(name, width, frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const say = (what) => faults.push(`${name} at ${width}: ${what}`);
  if (page.scrollingElement.scrollWidth > width) say(`it is ${page.scrollingElement.scrollWidth} pixels wide`);
  const shown = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const broken = [...page.images].filter((i) => shown(i) && i.loading !== "lazy" && !(i.complete && i.naturalWidth));
  if (broken.length) say(`a picture does not load, ${broken[0].src}`);
  const main = page.querySelector("article") ?? page.body;
  const scrolls = (e) => e.closest("pre, .md-typeset__scrollwrap, .md-typeset__table, .arithmatex");
  for (const e of main.querySelectorAll("*")) {
    if (e.getBoundingClientRect().right > width + 1 && !scrolls(e) && shown(e)) {
      say(`it is cut off: ${e.outerHTML.slice(0, 80)}`);
      break;
    }
  }
  const weak = new Map();
  for (const e of main.querySelectorAll("p, li, td, th, a, code, h1, h2, h3, h4, span")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !shown(e)) continue;
    if (e.matches(".headerlink, .headerlink *")) continue;
    const style = view.getComputedStyle(e), size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700) ? 3 : 4.5;
    const found = contrast(e, view);
    if (found < needed) weak.set(`${style.color} ${e.tagName} ${e.className}`, `${found.toFixed(2)}: ${e.textContent.trim().slice(0, 30)}`);
  }
  for (const [how, what] of weak) say(`contrast of ${how} is ${what}`);
}

async function open(frame, name, width) {
  frame.style.cssText = `border:0;width:${width}px;height:900px`;
  const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
  frame.src = `/${name}`;
  await loaded;
  await wait(150);
}

async function search(frame) {
  await open(frame, "index.html", 1200);
  const page = frame.contentDocument;
  page.querySelector("#__search")?.click();
  const field = page.querySelector(".md-search__input");
  field.focus();
  field.value = "curriculum";
  for (const kind of ["input", "keyup", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  for (let i = 0; i < 60 && !page.querySelector(".md-search-result__item"); i++) await wait(250);
  if (!page.querySelector(".md-search-result__item")) faults.push("the search for curriculum finds nothing");
}

(async () => {
  const frame = document.body.appendChild(document.createElement("iframe"));
  try {
    for (const name of NAMES) {
      for (const width of WIDTHS) {
        await open(frame, name, width);
        look(name, width, frame);
      }
    }
    await search(frame);
  } catch (error) {
    faults.push(`the check itself failed: ${error.stack}`);
  }
  await fetch("/", { method: "POST", body: JSON.stringify(faults) });
})();
