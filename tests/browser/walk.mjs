// Walks through the console of a running hub with Debian's Chromium: every page, both languages, desktop and phone, light
// and dark, signed in by link and by certificate. It fails on a console error, a breach of the content security policy, an
// accessibility violation of WCAG level A or AA, a page that is too heavy, and focus that is not seen. Usage:
//   node walk.mjs --truc PROGRAM --data FOLDER_OF_THE_DEMO --out SCREENSHOTS [--docs FOLDER]
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};
const truc = option("truc", "target/debug/truc");
const data = option("data");
const out = option("out", "target/screenshots");
const docs = option("docs");
mkdirSync(out, { recursive: true });
if (docs) mkdirSync(docs, { recursive: true });

const config = readFileSync(join(data, "truc.toml"), "utf8");
const listens = (section) => config.split(`[${section}]`)[1].match(/address = "127\.0\.0\.1:(\d+)"/)[1];
const origin = `https://localhost:${listens("console")}`;
const hub = ["--hub", `https://localhost:${listens("listen")}`, "--pki", join(data, "certs")];
const MAX_WEIGHT = 300 * 1024;
const MAX_TIME = 1500; // a debug build on a busy machine; the 200 ms of the promise are measured elsewhere

const failures = [];
const fail = (where, what) => { failures.push(`${where}: ${what}`); console.error(`FAILED ${where}: ${what}`); };
let steps = 0;

const link = (who) => JSON.parse(execFileSync(truc, ["console", "login", "--json", ...hub, "--as", who], { encoding: "utf8" })).url;

// Client certificates are the browser's own matter: the policy and the database of the profile. Playwright answers the
// server's request in its place.
const certificate = (who) => [{ origin, certPath: join(data, "certs", `${who}.pem`), keyPath: join(data, "certs", `${who}.key`) }];

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
  ],
});

const SIZES = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };

async function open(name, options, signIn) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  let weight = 0;
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") fail(name, `console: ${message.text()} at ${page.url()}`);
  });
  page.on("pageerror", (error) => fail(name, `script: ${error}`));
  page.on("requestfailed", (request) => {
    // A page that is left ends its live connection and what it was loading.
    if (!/ERR_ABORTED/.test(request.failure()?.errorText ?? "")) fail(name, `${request.url()}: ${request.failure()?.errorText}`);
  });
  page.on("response", async (response) => {
    const url = response.url();
    if (!url.startsWith(origin)) fail(name, `asks ${url}`);
    if (url.endsWith("/live")) return;
    weight += Number((await response.allHeaders().catch(() => ({})))["content-length"] ?? 0);
  });
  await signIn(page);
  return { context, page, weightSince: () => { const was = weight; weight = 0; return was; } };
}

const byLink = (who) => async (page) => {
  await page.goto(link(who));
  await page.getByRole("button").click();
  await page.waitForURL((url) => !url.pathname.includes("sign-in"));
  if (/sign-in|token|secret/.test(page.url())) throw new Error(`a secret stays in ${page.url()}`);
};

const byCertificate = (lang) => async (page) => {
  await page.goto(`${origin}/${lang}/sign-in`);
  await page.locator("form[action$='/sign-in/certificate'] button").click();
  await page.waitForURL(`${origin}/${lang}/`);
};

async function check(name, page, path, weightSince) {
  weightSince();
  const began = Date.now();
  const answer = await page.goto(origin + path, { waitUntil: "load" });
  const took = Date.now() - began;
  steps += 1;
  if (answer.status() !== 200) return fail(name, `${path} answers ${answer.status()}`);
  if (took > MAX_TIME) fail(name, `${path} took ${took} ms`);
  const weight = weightSince();
  const html = (await answer.body()).length;
  if (Math.max(weight, html) > MAX_WEIGHT) fail(name, `${path} weighs ${weight} bytes`);
  await look(name, page, path);
  return { took, weight: Math.max(weight, html) };
}

async function look(name, page, path) {
  // The policy forbids scripts from anywhere else, so axe is brought in as the driver's own code.
  const found = await page.evaluate(async (source) => {
    if (!window.axe) (0, eval)(source);
    const result = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
  }, axe).catch((error) => [`axe: ${error}`]);
  for (const violation of found) fail(name, `${path}: ${violation}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (wide > 1) fail(name, `${path}: ${wide} pixels wider than the window`);
}

// Everything that can be reached with the keyboard shows where the focus is.
async function keyboard(name, page) {
  await page.goto(`${origin}/vi/documents`);
  for (let step = 0; step < 25; step += 1) {
    await page.keyboard.press("Tab");
    const seen = await page.evaluate(() => {
      const { activeElement } = document;
      if (!activeElement || activeElement === document.body) return "body";
      const style = getComputedStyle(activeElement);
      return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 ? "" : activeElement.outerHTML.slice(0, 120);
    });
    if (seen === "body") break;
    if (seen) fail(name, `focus is not seen on ${seen}`);
  }
  await page.goto(`${origin}/vi/documents`);
  await page.keyboard.press("/");
  if (await page.evaluate(() => document.activeElement.id) !== "q") fail(name, "/ does not lead to the search field");
  await page.keyboard.press("Escape");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("g");
  await Promise.all([page.waitForURL(`${origin}/vi/agencies`), page.keyboard.press("a")]);
}

const shot = async (page, name) => {
  await page.screenshot({ path: join(out, `${name}.png`), fullPage: true });
};
// For the handbooks: what fits into the window, and only what they show.
const SHOWN = ["sign-in-vi", "overview-vi", "overview-en", "document-vi", "document-en", "queues-vi", "preview-vi", "act-en"];
const picture = async (page, name) => {
  await page.evaluate(() => scrollTo(0, 0));
  if (docs && SHOWN.includes(name)) writeFileSync(join(docs, `${name}.png`), await page.screenshot({ scale: "css" }));
};

async function walk() {
  const pages = JSON.parse(readFileSync(new URL("./pages.json", import.meta.url), "utf8"));
  const measured = [];
  for (const lang of ["vi", "en"]) {
    for (const size of Object.keys(SIZES)) {
      for (const scheme of ["light", "dark"]) {
        const name = `${lang}-${size}-${scheme}`;
        const { context, page, weightSince } = await open(name, { viewport: SIZES[size], colorScheme: scheme }, byLink("operator"));
        for (const [key, where] of Object.entries(pages)) {
          const seen = await check(name, page, `/${lang}${where}`, weightSince);
          if (seen) measured.push([key, seen.took, seen.weight]);
          if (scheme === "light" || lang === "vi") await shot(page, `${key}-${name}`);
          if (lang === "vi" && size === "desktop" && scheme === "light") await picture(page, `${key}-vi`);
          if (lang === "en" && size === "desktop" && scheme === "light") await picture(page, `${key}-en`);
        }
        // A real document, reached as people do.
        await page.goto(`${origin}/${lang}/documents`);
        await page.locator("td.number a").first().click();
        await page.waitForURL(/\/document\?/);
        await look(name, page, "document");
        await context.close();
      }
    }
  }
  return measured;
}

async function documents() {
  for (const [lang, size, scheme] of [["vi", "desktop", "light"], ["en", "desktop", "light"], ["vi", "phone", "dark"]]) {
    const name = `document-${lang}-${size}-${scheme}`;
    const { context, page } = await open(name, { viewport: SIZES[size], colorScheme: scheme }, byLink("operator"));
    await page.goto(`${origin}/${lang}/documents?q=ret+dam`);
    await page.locator("td.number a").first().click();
    await page.waitForURL(/\/document\?/);
    await look(name, page, "circular");
    await shot(page, name);
    if (size === "desktop") await picture(page, `document-${lang}`);
    await page.emulateMedia({ media: "print" });
    await shot(page, `print-${name}`);
    await page.emulateMedia({ media: "screen" });
    // The bundle that the browser gets is one that the offline verifier believes.
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator("a[download$='.docproof']").click()]);
    const file = join(out, "downloaded.docproof");
    await download.saveAs(file);
    execFileSync(truc, ["verify", file, "--trust", join(data, "receipts", "hub.vkey")], { encoding: "utf8" });
    const [receipt] = await Promise.all([page.waitForEvent("download"), page.locator("a[href*='/document/receipt']").first().click()]);
    await receipt.saveAs(join(out, "downloaded.receipt"));
    await context.close();
  }
}

async function instant() {
  const { context, page } = await open("instant", { viewport: SIZES.desktop }, byLink("operator"));
  await page.goto(`${origin}/vi/documents`);
  const rows = page.locator("#results tbody tr");
  const all = await rows.count();
  await page.locator("#q").pressSequentially("ret dam");
  await page.waitForFunction((all) => document.querySelectorAll("#results tbody tr").length < all, all);
  await page.locator("#q").fill("không có gì như thế");
  await page.locator("#results .empty").waitFor();
  await shot(page, "documents-empty");
  await look("instant", page, "no results");
  if (!page.url().includes("q=")) fail("instant", "the address does not follow the search");
  await context.close();
}

// An action from its form to its undoing: previewed, done, in the list, taken back.
async function actions() {
  for (const lang of ["vi", "en"]) {
    const name = `actions-${lang}`;
    const { context, page } = await open(name, { viewport: SIZES.desktop }, byLink("operator"));
    await page.goto(`${origin}/${lang}/queue?agency=000.04.23.H38`);
    await page.locator(".actions a.button").click();
    await page.waitForURL(/\/act\?/);
    await page.locator("input[value=ACTION_KIND_HOLD]").check();
    await page.locator("#hours").selectOption("4");
    await page.locator("#reason").fill(lang === "vi" ? "Nâng cấp hệ thống <b>của xã</b>" : "The commune's system is being renewed");
    await page.locator("main form button.main").click();
    await page.waitForURL(/\/act\/preview$/);
    await look(name, page, "preview");
    await shot(page, `preview-${lang}`);
    await picture(page, `preview-${lang}`);
    await page.locator("main form button.main").click();
    await page.waitForURL(/\/actions\?id=/);
    await look(name, page, "action");
    await shot(page, `action-${lang}`);
    await page.locator("#undo-reason").fill("Xong sớm");
    await page.locator("form[action$='/action/undo'] button").click();
    await page.waitForURL(/\/actions\?id=/);
    await page.goto(`${origin}/${lang}/actions`);
    if (await page.locator("tbody tr").count() === 0) fail(name, "the list of actions is empty");
    await look(name, page, "actions");
    await shot(page, `actions-${lang}`);
    await picture(page, `actions-${lang}`);
    await context.close();
  }
}

// What moves much needs a second person: who asked may not approve, another one does, and it is taken back in time.
async function fourEyes() {
  execFileSync(truc, ["pki", "issue", "--out", join(data, "certs"), "--role", "operator", "--name", "second"]);
  for (const lang of ["vi", "en"]) {
    const asker = await open(`asker-${lang}`, { viewport: SIZES.desktop }, byLink("operator"));
    const second = await open(`second-${lang}`, { viewport: SIZES.phone, colorScheme: "dark" }, byLink("second"));
    const name = `four-eyes-${lang}`;
    const approves = "form[action$='/action/approve']";
    await asker.page.goto(`${origin}/${lang}/act?agency=000.01.23.H38`);
    await asker.page.locator("input[value=ACTION_KIND_CANCEL]").check();
    await asker.page.locator("#reason").fill(lang === "vi" ? "Gửi nhầm nơi nhận" : "Sent to the wrong commune");
    await asker.page.locator("main form button.main").click();
    await asker.page.waitForURL(/\/act\/preview$/);
    if (await asker.page.locator(".notice.waits").count() !== 1) fail(name, "the preview does not ask for a second person");
    await look(name, asker.page, "preview");
    await asker.page.locator("main form button.danger").click();
    await asker.page.waitForURL(/\/actions\?id=/);
    if (await asker.page.locator(approves).count() !== 0) fail(name, "who asked may approve");
    await shot(asker.page, `${name}-asked`);
    await second.page.goto(asker.page.url());
    await look(name, second.page, "approval");
    await shot(second.page, `${name}-approval`);
    await second.page.locator("#approve-reason").fill(lang === "vi" ? "Đã kiểm tra" : "Checked");
    await second.page.locator(`${approves} button`).click();
    await second.page.waitForURL(/\/actions\?id=/);
    await second.page.getByText(lang === "vi" ? "Người phê duyệt: second" : "Approved by second").first().waitFor();
    if (await second.page.locator(approves).count() !== 0) fail(name, "it can be approved twice");
    await asker.page.reload();
    await asker.page.locator("#undo-reason").fill(lang === "vi" ? "Không nhầm" : "It was right");
    await asker.page.locator("form[action$='/action/undo'] button").click();
    await asker.page.waitForURL(/\/actions\?id=/);
    await asker.page.getByText(lang === "vi" ? "Người hoàn tác: operator" : "Undone by operator").first().waitFor();
    await look(name, asker.page, "undone");
    await shot(asker.page, `${name}-undone`);
    await asker.context.close();
    await second.context.close();
  }
}

// Recipients of a document by their state, and one by its name.
async function recipients() {
  const { context, page } = await open("recipients", { viewport: SIZES.desktop }, byLink("operator"));
  await page.goto(`${origin}/vi/documents?q=ret+dam`);
  await page.locator("td.number a").first().click();
  await page.waitForURL(/\/document\?/);
  const rows = page.locator("#recipients tbody tr");
  const all = await rows.count();
  await page.locator("a.chip.good").click();
  await page.waitForURL(/state=handed-over/);
  if (await rows.count() >= all) fail("recipients", "the state does not narrow the list");
  await look("recipients", page, "by state");
  await page.locator("#recipient").fill("000.04.23.H38");
  await page.locator("#recipients form button").click();
  await page.waitForURL(/recipient=000/);
  if (await rows.count() !== 1) fail("recipients", "one recipient is not one row");
  await shot(page, "recipients-one");
  await page.locator("#recipient").fill("H99");
  await page.locator("#recipients form button").click();
  await page.locator("#recipients .empty").waitFor();
  await look("recipients", page, "nobody");
  await context.close();
}

// The connection for live changes stands, and a change arrives by itself.
async function live() {
  const { context, page } = await open("live", { viewport: SIZES.desktop }, byLink("operator"));
  await page.goto(`${origin}/vi/actions`);
  await page.locator("#live.on").waitFor();
  const rows = await page.locator("tbody tr").count();
  execFileSync(truc, ["action", "hold", "--agency", "000.04.23.H38", "--reason", "kiểm thử", "--until", "1h", "--json", ...hub, "--as", "operator"], { encoding: "utf8" });
  await page.waitForFunction((rows) => document.querySelectorAll("tbody tr").length > rows, rows);
  await context.close();
}

async function themes() {
  const { context, page } = await open("themes", { viewport: SIZES.desktop, colorScheme: "light" }, byLink("operator"));
  await page.goto(`${origin}/vi/help`);
  await page.locator("details.user summary").click();
  await page.locator("#theme").selectOption("dark");
  await page.locator("form[action$='/settings/theme'] button").click();
  await page.waitForURL(`${origin}/vi/help`);
  const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  if (!/rgb\(1[0-9], 2[0-9], 2[0-9]\)/.test(ground)) fail("themes", `dark is ${ground}`);
  await page.locator(".language").click();
  await page.waitForURL(`${origin}/en/help`);
  await page.locator("details.user summary").click();
  await page.locator("form[action$='/sign-out'] button").click();
  await page.waitForURL(`${origin}/en/sign-in`);
  await look("themes", page, "sign-in");
  await shot(page, "sign-in-en");
  await context.close();
}

async function certificates() {
  for (const [who, lang] of [["operator", "vi"]]) {
    const name = `certificate-${who}`;
    const { context, page } = await open(name, { viewport: SIZES.desktop, clientCertificates: certificate(who) }, byCertificate(lang));
    await page.goto(`${origin}/${lang}/documents`);
    await page.goto(`${origin}/${lang}/sign-in`);
    await context.close();
  }
  const { context, page } = await open("sign-in", { viewport: SIZES.desktop, clientCertificates: certificate("auditor") }, async () => {});
  await page.goto(`${origin}/vi/sign-in`);
  await look("sign-in", page, "sign-in");
  await shot(page, "sign-in-vi");
  await picture(page, "sign-in-vi");
  await page.locator("form[action$='/sign-in/certificate'] button").click();
  await page.waitForURL(`${origin}/vi/documents`);
  await context.close();
}

try {
  const measured = await walk();
  await documents();
  await instant();
  await actions();
  await fourEyes();
  await recipients();
  await live();
  await themes();
  await certificates();
  const { context, page } = await open("keyboard", { viewport: SIZES.desktop }, byLink("operator"));
  await keyboard("keyboard", page);
  await context.close();
  const slowest = Math.max(...measured.map(([, took]) => took));
  const heaviest = Math.max(...measured.map(([, , weight]) => weight));
  console.log(`${steps} pages; the slowest took ${slowest} ms, the heaviest weighs ${Math.round(heaviest / 1024)} KiB`);
} catch (error) {
  fail("walk", error.stack ?? error);
}
await browser.close();
if (failures.length > 0) {
  console.error(`${failures.length} failures`);
  process.exit(1);
}
console.log("the console holds: no error, no breach of policy, no accessibility violation");
