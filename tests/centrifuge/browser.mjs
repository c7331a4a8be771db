// The same in a browser: SUITES_NODE=dir CHROMIUM=/usr/bin/chromium node browser.mjs URL json|protobuf

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';

import { load } from '../interop/check.mjs';

const [url, format] = process.argv.slice(2);
const sdk = dirname(load.resolve('centrifuge'));
const files = {
  '/checks.mjs': new URL('checks.mjs', import.meta.url),
  '/helpers.mjs': new URL('helpers.mjs', import.meta.url),
  '/theirs.mjs': new URL('theirs.mjs', import.meta.url),
  '/json.mjs': join(sdk, 'index.mjs'),
  '/protobuf.mjs': join(sdk, 'protobuf/index.mjs'),
};
const page = `<!doctype html><title>Centrifuge</title><link rel="icon" href="data:,"><script type="module">
  import { run } from '/checks.mjs';
  import * as json from '/json.mjs';
  import * as protobuf from '/protobuf.mjs';

  async function report(name, check, seconds = 10) {
    let timer;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('no end within ' + seconds + ' s')), seconds * 1000);
    });
    try {
      await Promise.race([check(), limit]);
      console.log('ok   centrifuge-js in a browser, ${format}: ' + name);
    } catch (error) {
      const why = String(error?.message ?? JSON.stringify(error)).replace(/\\s+/g, ' ').slice(0, 300);
      console.log('FAIL centrifuge-js in a browser, ${format}: ' + name + ': ' + why);
    }
    clearTimeout(timer);
  }

  run({
    url: ${JSON.stringify(url)},
    format: ${JSON.stringify(format)},
    json,
    protobuf,
    WebSocket,
    cut: (socket) => socket.close(),
    mute: null,
    mark: ${process.pid},
    report,
  }).then(() => console.log('end'), (error) => console.log('FAIL the checks: ' + error));
</script>`;

const server = createServer(async (request, response) => {
  const file = files[request.url];
  const type = file ? 'text/javascript' : 'text/html';
  response.writeHead(200, { 'content-type': type }).end(file ? await readFile(file) : page);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const { chromium } = load('playwright-core');
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
const tab = await browser.newPage();
await new Promise((resolve) => {
  tab.on('console', (message) => {
    const line = message.text();
    if (line.startsWith('FAIL')) process.exitCode = 1;
    if (line.startsWith('ok ') || line.startsWith('FAIL')) console.log(line);
    if (line === 'end' || line.startsWith('FAIL the checks')) resolve();
  });
  tab.on('pageerror', (error) => {
    process.exitCode = 1;
    console.log(`FAIL centrifuge-js in a browser, ${format}: ${error}`);
  });
  tab.goto(`http://127.0.0.1:${server.address().port}/`);
});
await browser.close();
process.exit(process.exitCode);
