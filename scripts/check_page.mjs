// Uses a report as a reader does, in headless Chromium, and says what a reader would complain of:
//
//   npm install --no-save --prefix .deps/page-check puppeteer-core@24 axe-core@4
//   node scripts/check_page.mjs reports/STUDY.html /tmp/shots
//
// Real pointer and key events, axe-core in light and dark, three widths, print, and the page without JavaScript. Screenshots go to the
// folder. Exit code 1 when something is wrong. For developers: nothing of it is part of the program.
import { createRequire } from "node:module";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [, , file, shots, installed] = process.argv;
if (!file || !shots) { console.error("usage: check_page.mjs REPORT.html FOLDER [MODULES]"); process.exit(2); }
const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = createRequire(resolve(installed ?? join(root, ".deps/page-check/node_modules"), "x.js"));
const puppeteer = (await import(pathToFileURL(modules.resolve("puppeteer-core")))).default;
const axe = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");
const browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
mkdirSync(shots, { recursive: true });
const url = pathToFileURL(resolve(file)).href, wrong = [];
const check = (what, right, more = "") => { console.log(`${right ? "ok  " : "FAIL"} ${what}${more ? ": " + more : ""}`); if (!right) wrong.push(what); };

const chromium = await puppeteer.launch({ executablePath: browser, args: ["--no-sandbox", "--disable-gpu"] });
async function open(width, height, { dark = false, script = true, media = "screen" } = {}) {
  const page = await chromium.newPage();
  page.said = [];
  page.on("console", (m) => { if (["error", "warn", "assert"].includes(m.type())) page.said.push(m.text()); });
  page.on("pageerror", (e) => page.said.push(String(e)));
  await page.setJavaScriptEnabled(script);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  if (media !== "screen") await page.emulateMediaType(media); // which forgets the features
  await page.setViewport({ width, height, deviceScaleFactor: width < 600 ? 2 : 1, hasTouch: width < 600, isMobile: width < 600 });
  await page.goto(url);
  return page;
}
const text = (page, selector) => page.$eval(selector, (e) => e.textContent);

// Three widths, light and dark.
for (const width of [390, 900, 1400]) for (const dark of [false, true]) {
  const page = await open(width, 900, { dark }), name = `${width}${dark ? "-dark" : ""}`;
  await page.screenshot({ path: join(shots, `${name}.png`) });
  await page.screenshot({ path: join(shots, `${name}-whole.png`), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(`${name}: nothing is wider than the window`, wide <= 0, wide > 0 ? `${wide} px over` : "");
  await page.evaluate(() => document.querySelectorAll("details").forEach((d, i) => { if (i < 40) d.open = true; }));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const bad = violations.filter((v) => ["serious", "critical"].includes(v.impact));
  const all = violations.map((v) => `${v.impact} ${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 160)}`);
  check(`${name}: axe-core has no serious finding`, bad.length === 0, all.join("\n       "));
  check(`${name}: the console is silent`, page.said.length === 0, page.said.join("; "));
  await page.close();
}

// With the pointer.
const page = await open(1400, 900);
// The last one drawn: nothing lies over it.
const point = (await page.$$("#plot a.front")).at(-1);
await point.scrollIntoView();
await (await point.$(".hit")).hover();
const number = await point.evaluate((p) => p.dataset.n);
check("hover tells the configuration and intervals", new RegExp(`^Trial ${number}\\b.* to .*`).test(await text(page, "#tip")));
await page.screenshot({ path: join(shots, "hover.png") });
const rowsBefore = await page.$$eval("#trials tbody tr", (r) => r.length);
await page.focus("#budget");
const dimmed = () => page.$$eval("#plot a.over", (a) => a.length);
const before = await dimmed();
for (let i = 0; i < 500; i++) await page.keyboard.press("ArrowLeft");
check("the budget slider dims what does not fit", (await dimmed()) > before && (await page.$$eval("#trials tr.over", (r) => r.length)) > 0, `${await dimmed()} points; ${await text(page, "#budget-text")}`);
await page.screenshot({ path: join(shots, "slider.png") });
await page.keyboard.press("End");
check("at its end all fit again", (await dimmed()) === before);
const metrics = await page.$$eval("#axis-x option", (o) => o.map((x) => [x.value, x.textContent]));
for (const [value, label] of metrics) for (const axis of ["#axis-x", "#axis-y"]) {
  await page.select(axis, value);
  const shown = await text(page, "#plot"), points = await page.$$eval("#plot a", (a) => a.length);
  check(`axis ${axis.slice(6)}: ${label}`, shown.includes(label) && points > 0, `${points} points`);
}
const overlay = await page.$("#overlays input");
if (overlay) {
  if (!(await overlay.evaluate((o) => o.checked))) await overlay.click();
  check("another study lies over the figure", (await page.$$eval("#plot .alien", (a) => a.length)) > 0);
  // A point of the study may lie over a cross: the keyboard reaches it in any case.
  await (await page.$$("#plot .alien")).at(-1).evaluate((e) => e.focus());
  check("its points tell what they are", /^Study /.test(await text(page, "#tip")));
}
await page.reload();
if (await page.$("#overlays input")) { await page.click("#overlays input"); await page.screenshot({ path: join(shots, "overlay.png") }); }
const column = () => page.$$eval("#trials tbody tr", (r) => r.map((x) => parseFloat(x.cells[2].dataset.v)).filter((v) => !isNaN(v)));
const sorted = (v, way) => v.every((x, i) => !i || (x - v[i - 1]) * way >= 0);
const head = (await page.$$("#trials th button"))[2];
await head.click(); check("a column sorts up", sorted(await column(), 1));
await head.click(); check("and down", sorted(await column(), -1));
await page.type("#filter", "complete q8_0");
const left = await page.$$eval("#trials tbody tr:not([hidden])", (r) => r.map((x) => x.textContent.toLowerCase()));
check("the filter keeps what has all words", left.length > 0 && left.length < rowsBefore && left.every((t) => t.includes("complete") && t.includes("q8_0")), `${left.length} of ${rowsBefore}`);
await page.$eval("#filter", (f) => { f.value = ""; f.dispatchEvent(new Event("input")); });
await page.click("#trials tbody tr:not([hidden]) td a");
check("a row leads to its point", (await page.$$eval("#plot .chosen", (a) => a.length)) === 1);
await page.evaluate(() => { const d = document.querySelector("details.one"); location.hash = "#" + d.id; });
await new Promise((r) => setTimeout(r, 200));
check("a link opens the drill-down", await page.$eval("details.one", (d) => d.open));
await page.screenshot({ path: join(shots, "drill.png") });
await (await page.$("#parallel")).scrollIntoView();
await page.screenshot({ path: join(shots, "parallel.png") });
check("the console stayed silent", page.said.length === 0, page.said.join("; "));

// With keys alone: every stop is visible, and a point can be reached and followed.
await page.reload();
let stops = 0, unseen = [], reached = null;
for (; stops < 400; stops++) {
  await page.keyboard.press("Tab");
  const at = await page.evaluate(() => {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    const s = getComputedStyle(e), hit = e.querySelector && e.querySelector(".hit");
    return { what: e.outerHTML.slice(0, 90), point: !!e.closest("#plot"), ring: s.outlineStyle !== "none" || (hit && getComputedStyle(hit).stroke !== "none") };
  });
  if (!at) break;
  if (!at.ring) unseen.push(at.what);
  if (at.point && !reached) reached = await text(page, "#tip");
}
check("each stop of the tab key is visible", unseen.length === 0, `${stops} stops ${unseen.slice(0, 3)}`);
check("a point can be reached with the keyboard", /^(Trial|Study) /.test(reached || ""));

// On paper, and without JavaScript.
const print = await open(1000, 900, { media: "print" });
check("paper has the figures in place of the explorer", (await print.$eval(".figures", (f) => getComputedStyle(f).display)) !== "none" && (await print.$eval("#explorer", (f) => getComputedStyle(f).display)) === "none");
writeFileSync(join(shots, "print.pdf"), await print.pdf({ format: "A4", printBackground: false }));
const plain = await open(1000, 900, { script: false });
await plain.screenshot({ path: join(shots, "without-script.png"), fullPage: true });
await chromium.close();
console.log(wrong.length ? `${wrong.length} complaints` : "no complaint");
process.exit(wrong.length ? 1 : 0);
