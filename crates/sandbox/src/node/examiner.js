// The process of the tests: it asks the judged code for results, compares them here, and alone knows the token that means success.
// It lives on from program to program; each program's tests get a fresh context.
'use strict';
const fs = require('fs');
const vm = require('vm');
const [REPLIES, REQUESTS, CONTROL, VERDICT] = [3, 4, 5, 6];
const MODULES = new Set(['assert', 'assert/strict', 'util', 'buffer', 'events', 'querystring', 'string_decoder', 'url']);

function readExactly(fd, size) {
  const buffer = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const got = fs.readSync(fd, buffer, at, size - at, null);
    if (got === 0) process.exit(0);
    at += got;
  }
  return buffer;
}
const readFrame = (fd) => readExactly(fd, readExactly(fd, 4).readUInt32BE(0)).toString('utf8');

function writeFrame(fd, text) {
  const body = Buffer.from(text, 'utf8');
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, 4);
  for (let at = 0; at < frame.length; ) at += fs.writeSync(fd, frame, at);
}

// An empty frame says that the judged process is gone.
const receive = () => readFrame(REPLIES) || null;
const send = (text) => writeFrame(REQUESTS, text);

const valuesScript = new vm.Script(process.env.AUTOTUNE_VALUES, { filename: 'values.js' });
delete process.env.AUTOTUNE_VALUES;

// `console.assert` of JavaScript only prints; here a false assertion ends the tests.
const consoleScript = new vm.Script(`(() => {
  const nothing = () => {};
  const names = ['log', 'error', 'warn', 'info', 'debug', 'dir', 'table', 'trace', 'group', 'groupEnd', 'time', 'timeEnd', 'count'];
  const console = Object.fromEntries(names.map((name) => [name, nothing]));
  console.assert = (condition, ...texts) => {
    if (!condition) {
      const error = new Error(['console.assert', ...texts.map(String)].join(' '));
      error.name = 'AssertionError';
      throw error;
    }
  };
  return console;
})()`);

function requireHere(name) {
  const bare = String(name).replace(/^node:/, '');
  if (!MODULES.has(bare)) {
    const error = new Error(`Cannot find module '${bare}'`);
    error.code = 'MODULE_NOT_FOUND';
    throw error;
  }
  return require(bare);
}

const DECLARED = /\b(?:function\s*\*?|class|const|let|var)\s+([A-Za-z_$][\w$]*)/g;
const namesIn = (source, pattern) => new Set([...source.matchAll(pattern)].map((match) => match[1] ?? match[0]));

// The helpers that the prompt defines. It stops in the middle of a function, which a brace closes.
function preludeHelpers(context, task) {
  const names = [...namesIn(task.prelude, DECLARED)].filter((name) => name !== task.entry_point);
  const listed = names.map((name) => `${name}: typeof ${name} === 'undefined' ? undefined : ${name}`).join(', ');
  for (const ending of ['', '\n}', '\n}}']) {
    try {
      return vm.runInContext(`(() => {${task.prelude}${ending}\n;return {${listed}};})()`, context, { filename: 'prompt.js' });
    } catch {
      // Another ending may do; without any, the helpers are the solution's.
    }
  }
  return {};
}

async function examine(task) {
  const loaded = receive();
  if (loaded === null) return { kind: 'gone', detail: '' };
  const context = vm.createContext(Object.create(null));
  const names = new Set(Object.getOwnPropertyNames(vm.runInContext('globalThis', context)));
  const operations = { call: (target, args) => target(...args) };
  const peer = valuesScript.runInContext(context)(send, receive, operations, (value) => typeof value === 'function');
  const first = peer.parse(loaded);
  if (first.x !== undefined) return failure(first, 'while loading');
  const define = (name, descriptor) =>
    Object.defineProperty(vm.runInContext('globalThis', context), name, { configurable: true, enumerable: true, ...descriptor });
  define('console', { value: consoleScript.runInContext(context) });
  define('require', { value: requireHere });
  let pending = null;
  rejected = (reason) => (pending = reason);
  try {
    const helpers = task.prelude ? preludeHelpers(context, task) : {};
    for (const [name, value] of Object.entries(helpers)) if (value !== undefined) define(name, { value, writable: true });
    const used = namesIn(`${task.setup}\n${task.tests}`, /[A-Za-z_$][\w$]*/g);
    const wanted = [...namesIn(task.solution, DECLARED)].filter((name) => used.has(name) && !names.has(name) && !(name in helpers));
    if (task.entry_point && !wanted.includes(task.entry_point)) wanted.push(task.entry_point);
    for (const name of wanted) {
      const value = peer.request('global', name);
      if (value === undefined && name === task.entry_point) return { kind: 'ReferenceError', detail: `the solution defines no ${name}` };
      if (value === undefined) continue;
      const fixed = typeof value === 'function';
      define(name, fixed ? { value, writable: true } : { get: () => peer.request('global', name), set: () => {} });
    }
    if (task.setup) vm.runInContext(task.setup, context, { filename: 'setup.js' });
    await vm.runInContext(task.tests, context, { filename: 'tests.js' });
    await new Promise(setImmediate);
    if (pending !== null) throw pending;
  } catch (error) {
    if (peer.state.gone) return { kind: 'gone', detail: '' };
    if (peer.state.raised && peer.state.raised.error === error) return failure(peer.state.raised.reply, 'when called');
    const told = peer.describe(error);
    const place = /tests\.js:(\d+)/.exec(String(error && error.stack));
    const line = place ? ` at test line ${place[1]}: ${(task.tests.split('\n')[place[1] - 1] || '').trim().slice(0, 400)}` : '';
    return { kind: told.x, detail: `${told.x}: ${told.d}${line}` };
  }
  return peer.state.gone ? { kind: 'gone', detail: '' } : null;
}

// An exception of the judged code. What it says is not trusted beyond being a text.
function failure(reply, when) {
  const line = typeof reply.l === 'number' ? ` (line ${reply.l})` : '';
  const codes = { EPERM: 1, EAGAIN: 11, EACCES: 13, EMFILE: 24, EFBIG: 27, ENOSPC: 28, EROFS: 30, ENOSYS: 38 };
  const outOfMemory = /allocation failed|out of memory/i.test(String(reply.d));
  return {
    kind: outOfMemory ? 'MemoryError' : String(reply.x),
    errno: codes[String(reply.c)] ?? null,
    detail: `${String(reply.x)} ${when}: ${String(reply.d)}${line}`,
  };
}

let rejected = () => {};
process.on('unhandledRejection', (reason) => rejected(reason));

async function main() {
  writeFrame(VERDICT, '{}');
  for (;;) {
    const task = JSON.parse(readFrame(CONTROL));
    let result;
    try {
      result = await examine(task);
    } catch (error) {
      result = { kind: 'ProtocolError', detail: String(error && error.message).slice(0, 400) };
    }
    rejected = () => {};
    const report = result === null ? { token: task.token, passed: true } : { ...result, passed: false };
    report.detail = (report.detail || '').slice(0, 1500);
    writeFrame(VERDICT, JSON.stringify(report));
  }
}
main();
