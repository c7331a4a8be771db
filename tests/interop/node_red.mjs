// Node-RED with flows for `node_red_client`: an echo at /echo, a JSON-RPC service at /calls, and an echo at
// /private for those who log in. Each line of standard input deploys the flows once more.
// By hand: SUITES_NODE=target/suites/node-red node tests/interop/node_red.mjs

import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { load } from './check.mjs';

const RED = load('node-red');
const AUTHORIZATION = `Basic ${Buffer.from('user:secret').toString('base64')}`;

/** What comes in goes out again, through these nodes in between. */
function flow(name, wholemsg, between = []) {
  const ids = [`${name}-in`, ...between.map((_, n) => `${name}-${n}`), `${name}-out`];
  const wires = (n) => (n + 1 < ids.length ? [[ids[n + 1]]] : []);
  const common = (n) => ({ id: ids[n], z: 'tab', x: 100 * (n + 1), y: 100, wires: wires(n) });
  const server = `${name}-listener`;
  return [
    { id: server, type: 'websocket-listener', path: `/${name}`, wholemsg: String(wholemsg) },
    { ...common(0), type: 'websocket in', server },
    ...between.map((node, n) => ({ ...common(n + 1), ...node })),
    { ...common(ids.length - 1), type: 'websocket out', server },
  ];
}

/** The answer to a call; `_session` says whose it is. */
const answer = `
  const { id, method, params, _session } = msg;
  const answer = { jsonrpc: '2.0', id, _session };
  if (method !== 'add') return { ...answer, error: { code: -32601, message: 'no such method' } };
  return { ...answer, result: params.reduce((sum, n) => sum + n, 0) };
`;

const flows = [
  { id: 'tab', type: 'tab', label: 'WebSockets' },
  ...flow('echo', false),
  ...flow('private', false),
  ...flow('calls', true, [
    // Answers in another order than the calls had.
    { type: 'delay', pauseType: 'random', randomFirst: '0', randomLast: '20', randomUnits: 'milliseconds' },
    { type: 'function', func: answer, outputs: 1 },
  ]),
];

const home = mkdtempSync(join(tmpdir(), 'tautline-node-red-'));
process.on('exit', () => rmSync(home, { recursive: true, force: true }));
process.on('SIGTERM', () => process.exit());

writeFileSync(join(home, 'flows.json'), JSON.stringify(flows));
const server = http.createServer();
RED.init(server, {
  userDir: home,
  flowFile: 'flows.json',
  credentialSecret: false,
  httpAdminRoot: false,
  httpNodeRoot: '/',
  logging: { console: { level: 'error' } },
  telemetry: { enabled: false, updateNotification: false },
  webSocketNodeVerifyClient: ({ req }) => req.url !== '/private' || req.headers.authorization === AUTHORIZATION,
});
const started = once(RED.events, 'flows:started');
await RED.start();
await started;
server.listen(0, '127.0.0.1', () => console.log(`listening on ws://127.0.0.1:${server.address().port}`));
for await (const _ of createInterface({ input: process.stdin })) {
  await RED.runtime.flows.setFlows({ flows: { flows }, deploymentType: 'full' });
  console.log('deployed');
}
process.exit(); // whoever started it is gone
