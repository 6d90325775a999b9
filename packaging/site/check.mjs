// node check.mjs BOOK [AXE]: every page of a built site in Chromium: links and anchors lead somewhere, nothing is wider
// than a phone, nothing is loaded from a network, the search finds words, and axe (the path of axe-core's axe.min.js)
// has nothing to say, light and dark. It needs chromium and chromedriver, and drives them by WebDriver.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, relative, resolve } from "node:path";

const [book, axePath] = process.argv.slice(2).map((path) => resolve(path));
if (!book) {
  console.error("node check.mjs BOOK [AXE]");
  process.exit(2);
}
const axe = axePath && readFileSync(axePath, "utf8");
const PHONE = 390;
// for one answer of the browser, milliseconds
const PATIENCE = 120000;
const faults = [];

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
const pages = files(book).filter((path) => path.endsWith(".html") && !/\/(404|toc|print)\.html$/.test(path));

const free = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const port = await free();
const driver = spawn("chromedriver", [`--port=${port}`], { stdio: "ignore" });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
process.on("exit", () => driver.kill());
const ask = async (method, path, body) => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE),
  });
  const { value } = await answer.json();
  if (value?.error) throw new Error(`${path}: ${value.message}`);
  return value;
};

let session;
try {
  for (let tries = 0; ; tries++) {
    try {
      await ask("GET", "/status");
      break;
    } catch (error) {
      if (tries > 100) throw error;
      await new Promise((done) => setTimeout(done, 100));
    }
  }
  const args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--hide-scrollbars"];
  const options = { args, mobileEmulation: { deviceMetrics: { width: PHONE, height: 844, pixelRatio: 2 } } };
  const capabilities = {
    alwaysMatch: {
      browserName: "chrome",
      "goog:chromeOptions": options,
      "goog:loggingPrefs": { browser: "ALL" },
      timeouts: { script: 60000 },
    },
  };
  session = `/session/${(await ask("POST", "/session", { capabilities })).sessionId}`;
  const run = (script, ...args) => ask("POST", `${session}/execute/sync`, { script, args });
  const wait = (script, ...args) => ask("POST", `${session}/execute/async`, { script, args });
  const open = (page, theme) =>
    ask("POST", `${session}/url`, { url: `file://${page}` })
      .then(() => run("localStorage.setItem('mdbook-theme', arguments[0])", theme))
      .then(() => ask("POST", `${session}/refresh`, {}));

  const anchors = new Map();
  const links = [];
  for (const page of pages) {
    const name = relative(book, page);
    for (const theme of ["light", "navy"]) {
      await open(page, theme);
      if (theme === "light") {
        const seen = await run(`
          const wide = [...document.querySelectorAll('main *')].filter((one) => {
            let scrolls = one.parentElement;
            while (scrolls && !/auto|scroll|hidden/.test(getComputedStyle(scrolls).overflowX)) scrolls = scrolls.parentElement;
            return one.getBoundingClientRect().right > arguments[0] + 1 && (!scrolls || scrolls === document.documentElement || scrolls === document.body);
          });
          return {
            width: document.documentElement.scrollWidth,
            wide: wide.slice(0, 3).map((one) => one.tagName + ': ' + one.textContent.trim().slice(0, 60)),
            ids: [...document.querySelectorAll('[id]')].map((one) => one.id),
            links: [...document.querySelectorAll('main a[href], nav a[href]')].map((one) => one.href),
            images: [...document.querySelectorAll('main img')].filter((one) => !one.naturalWidth).map((one) => one.src),
            loaded: performance.getEntriesByType('resource').map((one) => one.name).filter((url) => /^https?:/.test(url)),
          };`, PHONE);
        if (seen.width > PHONE) faults.push(`${name}: ${seen.width} wide: ${seen.wide.join("; ")}`);
        for (const url of seen.images) faults.push(`${name}: ${url} is no image`);
        for (const url of seen.loaded) faults.push(`${name}: loads ${url}`);
        anchors.set(page, new Set(seen.ids));
        for (const url of seen.links) links.push([name, url]);
      }
      if (axe) {
        await run(axe);
        const found = await wait(`
          const done = arguments[arguments.length - 1];
          axe.run(document, {resultTypes: ['violations']}).then((all) => done(all.violations.map((one) =>
            one.id + ' (' + one.nodes.length + '): ' + one.help + ': ' + one.nodes[0].html.slice(0, 120))), (error) => done([String(error)]));`);
        for (const text of found) faults.push(`${name}, ${theme}: ${text}`);
      }
    }
  }
  for (const [name, url] of links) {
    if (!url.startsWith("file://")) continue;
    const { pathname, hash } = new URL(url);
    const path = decodeURIComponent(pathname);
    if (!existsSync(path) || statSync(path).isDirectory()) {
      faults.push(`${name}: ${relative(book, path)} is not there`);
    } else if (hash && anchors.has(path) && !anchors.get(path).has(decodeURIComponent(hash.slice(1)))) {
      faults.push(`${name}: ${relative(book, path)} has no ${hash}`);
    }
  }
  // the index comes as a script, which needs no server
  await open(join(book, "index.html"), "light");
  const hits = await wait(`
    const done = arguments[arguments.length - 1];
    document.getElementById('mdbook-search-toggle').click();
    const bar = document.getElementById('mdbook-searchbar');
    const look = (tries) => {
      bar.value = 'telemetry';
      bar.dispatchEvent(new KeyboardEvent('keyup', {key: 'y', bubbles: true}));
      const found = document.querySelectorAll('#mdbook-searchresults li').length;
      if (found || tries > 50) done(found); else setTimeout(look, 100, tries + 1);
    };
    look(0);`);
  if (!hits) faults.push("the search finds nothing");
  const external = new Set(links.map(([, url]) => url).filter((url) => /^https?:/.test(url)));
  console.log(`${pages.length} pages, ${links.length} links (${external.size} to elsewhere, not followed), ${hits} hits of a search`);
} finally {
  if (session) await ask("DELETE", session).catch(() => {});
  driver.kill();
}
for (const fault of faults) console.log(fault);
console.log(faults.length ? `${faults.length} faults` : axe ? "no faults" : "no faults; axe was not run");
process.exitCode = faults.length ? 1 : 0;
