// The process of the judged code: it loads the solution and answers requests. Nothing of the tests is ever in its memory.
// All of it is local: the solution's own global names are free.
(() => {
  'use strict';
  const fs = require('fs');
  const vm = require('vm');
  const [READING, WRITING] = [3, 4];

  function readExactly(size) {
    const buffer = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const got = fs.readSync(READING, buffer, at, size - at, null);
      if (got === 0) process.exit(0);
      at += got;
    }
    return buffer;
  }
  const receive = () => readExactly(readExactly(4).readUInt32BE(0)).toString('utf8');

  function send(text) {
    const body = Buffer.from(text, 'utf8');
    const frame = Buffer.alloc(4 + body.length);
    frame.writeUInt32BE(body.length, 0);
    body.copy(frame, 4);
    for (let at = 0; at < frame.length; ) at += fs.writeSync(WRITING, frame, at);
  }

  const operations = {
    global: (name) => vm.runInThisContext(`typeof ${name} === 'undefined' ? undefined : ${name}`),
    call: (target, args, self) => Reflect.apply(target, self, args),
    construct: (target, args) => Reflect.construct(target, args),
    get: (object, key) => object[key],
    set: (object, key, value) => void (object[key] = value),
    has: (object, key) => key in object,
    delete: (object, key) => delete object[key],
    keys: (object) => Object.keys(object),
    owns: (object, key) => Object.prototype.propertyIsEnumerable.call(object, key),
  };
  const makePeer = vm.runInThisContext(process.env.AUTOTUNE_VALUES, { filename: 'values.js' });
  // The prototype of a class that prompt and solution both define; for another class an empty one of its name.
  const prototypes = new Map();
  const rebuild = (name) => {
    if (!/^[A-Za-z_$][\w$]*$/.test(name)) return Object.prototype;
    const found = vm.runInThisContext(`typeof ${name} === 'function' ? ${name} : undefined`);
    if (found && found.prototype) return found.prototype;
    if (!prototypes.has(name)) prototypes.set(name, { constructor: { [name]: class {} }[name] });
    return prototypes.get(name);
  };
  const peer = makePeer(send, receive, operations, () => true, rebuild);
  delete process.env.AUTOTUNE_VALUES;

  async function main() {
    send('"ready"');
    const source = receive();
    globalThis.require = require;
    globalThis.module = { exports: {} };
    globalThis.exports = globalThis.module.exports;
    let loaded = '{"v":null}';
    try {
      vm.runInThisContext(source, { filename: 'solution.js' });
    } catch (error) {
      loaded = peer.stringify(peer.describe(error));
    }
    send(loaded);
    for (;;) send(peer.stringify(await peer.answer(peer.parse(receive()))));
  }
  main();
})();
