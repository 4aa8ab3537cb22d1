// What crosses between the process of the judged code and the process of the tests; the JavaScript twin of python/values.py.
//
// Plain values cross by value, as JSON with tags, and are rebuilt from the receiver's own built-ins. Functions, instances of classes and
// cyclic objects cross by reference. Evaluates to a function that makes one end of the channel: `send` and `receive` move JSON texts.
(function (send, receive, operations, mayExport, rebuild) {
  'use strict';
  // The built-ins as they were before any solution or test ran.
  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { getPrototypeOf, is, keys } = Object;
  const exported = [];
  const numbers = new Map();
  const remotes = new Map();
  const numberOfRemote = new WeakMap();
  const symbols = new Map();
  // Exceptions of the tests that were told to the judged code.
  const told = new Map();
  const state = { gone: false, raised: undefined };

  const numberTag = (v) =>
    Number.isFinite(v) && !is(v, -0) ? v : { t: 'n', v: is(v, -0) ? '-0' : String(v) };

  // The objects of a message in the order in which they are met. One that is met again crosses as its number, so that values which are
  // shared or hold themselves arrive as such.
  function tableOf(items) {
    const table = { items: [...items], numbers: new Map(), depth: 0 };
    for (const item of items) table.numbers.set(item, table.numbers.size);
    return table;
  }

  function encode(value, table) {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value;
      case 'number':
        return numberTag(value);
      case 'undefined':
        return { t: 'u' };
      case 'bigint':
        return { t: 'big', v: String(value) };
      case 'symbol':
        return encodeSymbol(value);
      case 'function':
        return reference(value);
    }
    if (value === null) return null;
    if (numberOfRemote.has(value)) return { t: 'own', v: numberOfRemote.get(value) };
    if (table.numbers.has(value)) return { t: '@', v: table.numbers.get(value) };
    const kind = kindOf(value);
    // What is nested deeper than this is handed out, where it may be: neither end could follow it in one message.
    if (kind === undefined || (table.depth > 400 && mayExport(value))) return encodeOther(value, table);
    table.numbers.set(value, table.items.length);
    table.items.push(value);
    const frozen = Object.isFrozen(value) && (kind === 'a' || kind === 'o') ? { z: 1 } : {};
    table.depth++;
    const content = contentOf(kind, value, table);
    table.depth--;
    return kind === 'a' && isArray(content) && !frozen.z ? content : { t: kind, v: content, ...frozen };
  }

  // How an object crosses by value; undefined for one that does not. The end of the judged code keeps what has code of its own.
  function kindOf(value) {
    if (value instanceof Error) return 'err';
    const proto = getPrototypeOf(value);
    switch (proto) {
      case Array.prototype: return isArray(value) ? 'a' : undefined;
      case Map.prototype: return 'map';
      case Set.prototype: return 'set';
      case Date.prototype: return 'date';
      case RegExp.prototype: return 're';
      case ArrayBuffer.prototype: return 'bytes';
      case DataView.prototype: return 'data';
      case Number.prototype: case String.prototype: case Boolean.prototype: return 'box';
      case Object.prototype: case null: return isPlain(value) ? (proto === null ? 'null' : 'o') : undefined;
    }
    return viewName(value) === undefined ? undefined : 'view';
  }

  function isPlain(object) {
    if (Object.prototype.toString.call(object) !== '[object Object]') return false;
    for (const key of Reflect.ownKeys(object)) {
      const own = Object.getOwnPropertyDescriptor(object, key);
      if (typeof key !== 'string' || own.get || own.set || !own.enumerable || typeof own.value === 'function') return false;
    }
    return true;
  }

  // What can change of an object that crosses by value.
  function contentOf(kind, value, table) {
    const each = (items) => items.map((item) => encode(item, table));
    switch (kind) {
      // Loops, not callbacks: the deeper values may nest.
      case 'a': {
        const named = keys(value);
        const dense = named.length === value.length && (named.length === 0 || named[named.length - 1] === String(value.length - 1));
        const content = [];
        for (const key of named) content.push(dense ? encode(value[key], table) : [key, encode(value[key], table)]);
        return dense ? content : { n: value.length, e: content };
      }
      case 'map': return [...value].map(each);
      case 'set': return each([...value]);
      case 'date': return numberTag(value.getTime());
      case 're': return [value.source, value.flags, value.lastIndex];
      case 'bytes': return [...new Uint8Array(value)];
      case 'data': return [[...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)]];
      case 'view': return [viewName(value), each(Array.from(value))];
      case 'box': return encode(value.valueOf(), table);
      case 'err': {
        const more = ['cause', 'errors'].filter((key) => Object.prototype.hasOwnProperty.call(value, key));
        const own = [...keys(value), ...more].filter((key) => key !== 'stack' && key !== 'message' && key !== 'name');
        return [String(value.name), String(value.message), own.map((key) => [key, encode(value[key], table)])];
      }
      default: {
        const content = [];
        for (const key of keys(value)) content.push([key, encode(value[key], table)]);
        return content;
      }
    }
  }

  // Gives an object this content and no other.
  function fill(kind, value, content, table) {
    const define = (key, item) =>
      Object.defineProperty(value, String(key), { value: item, enumerable: true, writable: true, configurable: true });
    switch (kind) {
      case 'a': {
        const dense = isArray(content);
        const decoded = [];
        if (dense) for (let index = 0; index < content.length; index++) decoded.push([index, decode(content[index], table)]);
        else for (const [key, item] of content.e) decoded.push([key, decode(item, table)]);
        for (const key of keys(value)) delete value[key];
        value.length = dense ? content.length : content.n;
        for (const [key, item] of decoded) define(key, item);
        return;
      }
      case 'o':
      case 'null': {
        const decoded = [];
        for (const [key, item] of content) decoded.push([String(key), decode(item, table)]);
        const kept = new Set(decoded.map(([key]) => key));
        for (const key of keys(value)) if (!kept.has(key)) delete value[key];
        for (const [key, item] of decoded) define(key, item);
        return;
      }
      case 'map': {
        const decoded = content.map(([key, item]) => [decode(key, table), decode(item, table)]);
        value.clear();
        for (const [key, item] of decoded) value.set(key, item);
        return;
      }
      case 'set': {
        const decoded = content.map((item) => decode(item, table));
        value.clear();
        for (const item of decoded) value.add(item);
        return;
      }
      case 'date': return void value.setTime(decode(content, table));
      case 're': return void (value.lastIndex = Number(content[2]));
      case 'view': return void content[1].forEach((item, index) => (value[index] = decode(item, table)));
      case 'bytes': return void new Uint8Array(value).set(content.map(Number));
      case 'data': return void new Uint8Array(value.buffer, value.byteOffset, value.byteLength).set(content[0].map(Number));
      case 'err': {
        for (const [key, item] of content[2]) if (key !== 'stack') define(key, decode(item, table));
      }
    }
  }

  const make = {
    a: () => [],
    o: () => ({}),
    null: () => Object.create(null),
    map: () => new Map(),
    set: () => new Set(),
    date: () => new Date(0),
    re: (v) => new RegExp(String(v[0]), String(v[1])),
    bytes: (v) => new ArrayBuffer(v.length),
    data: (v) => new DataView(new ArrayBuffer(v[0].length)),
    view: (v) => new VIEWS[String(v[0])](v[1].length),
    box: (v) => Object(decode(v, [])),
    err: (v) => error(String(v[0]), String(v[1])),
  };

  // The end of the tests gives what it may not hand out by its content: instances of its classes, and the items of what can be iterated.
  function encodeOther(value, table) {
    if (mayExport(value)) return reference(value);
    const iterate = value[Symbol.iterator];
    if (typeof iterate === 'function') {
      const items = [];
      for (const item of value) {
        if (items.push(item) > 100000) throw new TypeError('an iterable of more than 100000 items cannot be passed to the judged code');
      }
      const iterator = typeof value.next === 'function';
      return { t: 'iter', v: [iterator, items.map((item) => encode(item, table))] };
    }
    if (typeof value.then === 'function') throw new TypeError('a promise cannot be passed to the judged code');
    table.numbers.set(value, table.items.length);
    table.items.push(value);
    const made = value.constructor;
    const name = getPrototypeOf(value) !== Object.prototype && typeof made === 'function' ? String(made.name) : '';
    return { t: 'inst', v: contentOf('o', value, table), n: name };
  }

  const WELL_KNOWN = new Map(
    ['iterator', 'asyncIterator', 'hasInstance', 'toPrimitive', 'toStringTag', 'species'].map((name) => [Symbol[name], name]),
  );

  function encodeSymbol(value) {
    if (WELL_KNOWN.has(value)) return { t: 'wks', v: WELL_KNOWN.get(value) };
    if (Symbol.keyFor(value) !== undefined) return { t: 'symfor', v: Symbol.keyFor(value) };
    if (symbols.has(value)) return { t: 'own', v: symbols.get(value) };
    let number = numbers.get(value);
    if (number === undefined) {
      number = exported.length;
      exported.push(value);
      numbers.set(value, number);
    }
    return { t: 'sym', v: [number, value.description === undefined ? null : String(value.description)] };
  }

  const VIEWS = {
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array,
    BigInt64Array, BigUint64Array,
  };
  const viewName = (view) => Object.keys(VIEWS).find((name) => getPrototypeOf(view) === VIEWS[name].prototype);
  const ERRORS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, AggregateError };

  function reference(value) {
    if (numberOfRemote.has(value)) return { t: 'own', v: numberOfRemote.get(value) };
    let number = numbers.get(value);
    if (number === undefined) {
      if (!mayExport(value)) throw new TypeError('this object cannot be passed to the judged code');
      number = exported.length;
      exported.push(value);
      numbers.set(value, number);
    }
    const callable = typeof value === 'function';
    return isArray(value) ? { t: 'ref', v: number, k: 'array' } : { t: callable ? 'fun' : 'ref', v: number };
  }

  // `table` lists the objects of the message that were met before.
  function decode(data, table) {
    if (data === null || typeof data !== 'object') return data;
    const v = isArray(data) ? data : data.v;
    const kind = isArray(data) ? 'a' : String(data.t);
    if (Object.prototype.hasOwnProperty.call(make, kind)) {
      const value = make[kind](v);
      table.push(value);
      if (kind !== 'box') fill(kind, value, v, table);
      return data.z === 1 ? Object.freeze(value) : value;
    }
    switch (kind) {
      case 'u': return undefined;
      case 'n': return v === '-0' ? -0 : Number(String(v));
      case 'big': return BigInt(String(v));
      case 'wks': return Symbol[String(v)];
      case 'symfor': return Symbol.for(String(v));
      case 'sym': {
        const number = Number(v[0]);
        if (!remotes.has(number)) {
          const symbol = v[1] === null ? Symbol() : Symbol(String(v[1]));
          remotes.set(number, symbol);
          symbols.set(symbol, number);
        }
        return remotes.get(number);
      }
      case '@': {
        if (!Number.isInteger(v) || v < 0 || v >= table.length) throw new TypeError('an object that is not there');
        return table[v];
      }
      case 'own': {
        if (!Number.isInteger(v) || !(v in exported)) throw new TypeError('an unknown reference');
        return exported[v];
      }
      case 'fun':
      case 'ref': return remote(Number(v), kind === 'fun', data.k === 'array');
    }
    if (rebuild && kind === 'inst') {
      const value = Object.create(rebuild(String(data.n)));
      table.push(value);
      fill('o', value, v, table);
      return value;
    }
    if (rebuild && kind === 'iter') {
      const items = v[1].map((item) => decode(item, table));
      return v[0] ? items[Symbol.iterator]() : { [Symbol.iterator]: () => items[Symbol.iterator]() };
    }
    throw new TypeError('an unknown tag');
  }

  function error(name, message) {
    const kind = Object.prototype.hasOwnProperty.call(ERRORS, name) ? ERRORS[name] : Error;
    const value = kind === AggregateError ? new kind([], message) : new kind(message);
    if (value.name !== name) Object.defineProperty(value, 'name', { value: name, writable: true, configurable: true });
    return value;
  }

  // An object of the other end. Reading a property is a request; it cannot answer what it is compared with.
  function remote(number, callable, isList) {
    let proxy = remotes.get(number);
    if (proxy) return proxy;
    const target = callable ? function () {} : isList ? [] : {};
    const known = (key) => typeof key === 'string' || WELL_KNOWN.has(key) || Symbol.keyFor(key) !== undefined || symbols.has(key);
    proxy = new Proxy(target, {
      apply: (_, self, args) => call('call', proxy, args, self),
      construct: (_, args) => Object(call('construct', proxy, args)),
      get: (_, key) => {
        if (callable && key === 'prototype') return target.prototype;
        return known(key) ? request('get', proxy, key) : undefined;
      },
      set: (_, key, value) => known(key) && (request('set', proxy, key, value), true),
      has: (_, key) => known(key) && request('has', proxy, key) === true,
      deleteProperty: (_, key) => known(key) && request('delete', proxy, key) === true,
      ownKeys: () => {
        if (callable) return Reflect.ownKeys(target);
        return [...request('keys', proxy).map(String), ...(isList ? ['length'] : [])];
      },
      getOwnPropertyDescriptor: (_, key) => {
        if (callable || typeof key !== 'string') return Reflect.getOwnPropertyDescriptor(target, key);
        if (isList && key === 'length') {
          return { value: request('get', proxy, key), enumerable: false, writable: true, configurable: false };
        }
        if (request('owns', proxy, key) !== true) return undefined;
        return { value: request('get', proxy, key), enumerable: true, writable: true, configurable: true };
      },
    });
    remotes.set(number, proxy);
    numberOfRemote.set(proxy, number);
    return proxy;
  }

  function request(operation, ...args) {
    const table = tableOf([]);
    return ask({ o: operation, a: args.map((arg) => encode(arg, table)) }, []);
  }

  function call(operation, target, args, self) {
    const table = tableOf([]);
    const sent = [encode(target, table), { t: 'list', v: args.map((arg) => encode(arg, table)) }];
    // The own objects of this end as `this` would be copies.
    const owner = self !== undefined && self !== null && numberOfRemote.has(self) ? self : isCopied(self) ? self : undefined;
    return ask({ o: operation, a: [...sent, encode(owner, table)] }, table.items);
  }

  const isCopied = (self) => self !== null && typeof self === 'object' && kindOf(self) !== undefined;

  // Sends a request and waits for its reply; `items` are the objects that it carries by value, which may be changed.
  function ask(message, items) {
    if (state.gone) throw new Error('the judged process is gone');
    send(stringify(message));
    for (;;) {
      const text = receive();
      if (text === null) {
        state.gone = true;
        throw new Error('the judged process is gone');
      }
      const reply = parse(text);
      if (reply === null || typeof reply !== 'object') throw new TypeError('a message that is no object');
      if (reply.o !== undefined) {
        send(stringify(answerNow(reply)));
        continue;
      }
      const table = reply.k === 1 ? [...items] : [];
      for (const [number, content] of reply.m ?? []) {
        if (!Number.isInteger(number) || number < 0 || number >= items.length) throw new TypeError('an object that was not sent');
        fill(kindOf(items[number]) ?? 'o', items[number], content, table);
      }
      if (reply.x !== undefined) {
        const raised = reply.b !== undefined && told.has(reply.b) ? told.get(reply.b) : thrown(reply);
        state.raised = { error: raised, reply };
        if (reply.p) return Promise.reject(raised);
        throw raised;
      }
      const value = decode(reply.v ?? null, table);
      return reply.p ? Promise.resolve(value) : value;
    }
  }

  // Does what the other end asks for; gives the reply, or a promise of it.
  function answer(message) {
    const items = [];
    let before = [];
    try {
      const operation = operations[message.o];
      if (operation === undefined) throw new TypeError('the operation is not allowed here');
      const args = message.a.map((arg) =>
        arg !== null && typeof arg === 'object' && arg.t === 'list' ? arg.v.map((item) => decode(item, items)) : decode(arg, items),
      );
      before = isCall(message) ? items.map(shallow) : [];
      const value = operation(...args);
      if (value !== null && typeof value === 'object' && typeof value.then === 'function' && !numberOfRemote.has(value)) {
        return value.then(
          (settled) => ({ ...finish(items, before, settled), p: 1 }),
          (reason) => ({ ...describe(reason), ...mutated(items, before, tableOf(items)), p: 1 }),
        );
      }
      return finish(items, before, value);
    } catch (reason) {
      return { ...describe(reason), ...mutated(items, before, tableOf(items)) };
    }
  }

  function answerNow(message) {
    const reply = answer(message);
    return typeof reply.then === 'function' ? { x: 'TypeError', d: 'a promise cannot be given here' } : reply;
  }

  function finish(items, before, value) {
    const table = tableOf(items);
    try {
      const changed = mutated(items, before, table);
      return { ...changed, k: 1, v: encode(value, table) };
    } catch (reason) {
      return describe(reason);
    }
  }

  const isCall = (message) => message.o === 'call' || message.o === 'construct';

  // The content of an object as it is now, to see later what has changed.
  function shallow(item) {
    const kind = kindOf(item) ?? 'o';
    switch (kind) {
      case 'map': return [...item].flat();
      case 'set': return [...item];
      case 'date': return [item.getTime()];
      case 're': return [item.lastIndex];
      case 'view': return Array.from(item);
      case 'bytes': return [...new Uint8Array(item)];
      case 'data': return [...new Uint8Array(item.buffer, item.byteOffset, item.byteLength)];
      case 'box': case 'err': return [];
      default: {
        const named = keys(item);
        return [item.length, ...named, ...named.map((key) => item[key])];
      }
    }
  }

  // The objects of a call that it has changed, with what they hold now.
  function mutated(items, before, table) {
    const changed = [];
    for (let number = 0; number < before.length; number++) {
      const now = shallow(items[number]);
      if (now.length !== before[number].length || now.some((item, index) => !is(item, before[number][index]))) changed.push(number);
    }
    if (!changed.length) return { k: 1 };
    return { k: 1, m: changed.map((number) => [number, contentOf(kindOf(items[number]) ?? 'o', items[number], table)]) };
  }

  // What the other end has thrown.
  function thrown(reply) {
    if (reply.w !== undefined) return decode(reply.w, []);
    const raised = error(String(reply.x), String(reply.d));
    if (isArray(reply.n)) fill('err', raised, [0, 0, reply.n], []);
    return raised;
  }

  function describe(reason) {
    try {
      const isError = reason instanceof Error || (reason && typeof reason.message === 'string');
      const place = isError && /solution\.js:(\d+)/.exec(String(reason.stack));
      const reply = {
        x: isError ? String(reason.name) : 'Error',
        d: isError ? String(reason.message).slice(0, 400) : String(reason).slice(0, 400),
        l: place ? Number(place[1]) : null,
        c: isError && reason.code !== undefined ? String(reason.code) : null,
      };
      if (!rebuild) {
        // An exception of the tests is raised again as it is, if the judged code lets it pass.
        told.set(told.size, reason);
        return { ...reply, b: told.size - 1 };
      }
      if (state.raised && state.raised.error === reason && state.raised.reply.b !== undefined) reply.b = state.raised.reply.b;
      try {
        if (reason instanceof Error) reply.n = contentOf('err', reason, tableOf([reason]))[2];
        else reply.w = encode(reason, tableOf([]));
      } catch {
        // The text is enough.
      }
      return reply;
    } catch {
      return { x: 'Error', d: '' };
    }
  }

  return { request, answer, describe, state, parse, stringify };
})
