// What crosses between the process of the judged code and the process of the tests; the JavaScript twin of python/values.py.
//
// Plain values cross by value, as JSON with tags, and are rebuilt from the receiver's own built-ins. Functions, instances of classes and
// cyclic objects cross by reference. Evaluates to a function that makes one end of the channel: `send` and `receive` move JSON texts.
(function (send, receive, operations, mayExport) {
  'use strict';
  // The built-ins as they were before any solution or test ran.
  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { getPrototypeOf, is, keys } = Object;
  const exported = [];
  const numbers = new Map();
  const remotes = new Map();
  const numberOfRemote = new WeakMap();
  const state = { gone: false, raised: undefined };

  const numberTag = (v) =>
    Number.isFinite(v) && !is(v, -0) ? v : { t: 'n', v: is(v, -0) ? '-0' : String(v) };

  function encode(value, stack) {
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
        return { t: 'sym', v: String(value.description) };
      case 'function':
        return reference(value);
    }
    if (value === null) return null;
    if (numberOfRemote.has(value)) return { t: 'own', v: numberOfRemote.get(value) };
    if (stack.includes(value) || stack.length > 500) return reference(value);
    const deeper = [...stack, value];
    const each = (items) => items.map((item) => encode(item, deeper));
    if (isArray(value)) return each(Array.from(value));
    const proto = getPrototypeOf(value);
    if (proto === Object.prototype || proto === null) {
      return { t: 'o', v: keys(value).map((key) => [key, encode(value[key], deeper)]) };
    }
    if (value instanceof Map) return { t: 'map', v: [...value].map(each) };
    if (value instanceof Set) return { t: 'set', v: each([...value]) };
    if (value instanceof Date) return { t: 'date', v: numberTag(value.getTime()) };
    if (value instanceof RegExp) return { t: 're', v: [value.source, value.flags] };
    if (value instanceof Number || value instanceof String || value instanceof Boolean) return encode(value.valueOf(), stack);
    if (ArrayBuffer.isView(value) && typeof value.length === 'number') {
      return { t: 'view', v: [viewName(value), each(Array.from(value))] };
    }
    if (value instanceof Error) return { t: 'err', v: [String(value.name), String(value.message)] };
    return reference(value);
  }

  const VIEWS = {
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array,
    BigInt64Array, BigUint64Array,
  };
  const viewName = (view) => Object.keys(VIEWS).find((name) => view instanceof VIEWS[name]) || 'Uint8Array';
  const ERRORS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError };

  function reference(value) {
    if (numberOfRemote.has(value)) return { t: 'own', v: numberOfRemote.get(value) };
    let number = numbers.get(value);
    if (number === undefined) {
      if (!mayExport(value)) throw new TypeError('this object cannot be passed to the judged code');
      number = exported.length;
      exported.push(value);
      numbers.set(value, number);
    }
    return { t: typeof value === 'function' ? 'fun' : 'ref', v: number };
  }

  function decode(data) {
    if (data === null || typeof data !== 'object') return data;
    if (isArray(data)) return data.map(decode);
    const v = data.v;
    switch (data.t) {
      case 'u': return undefined;
      case 'n': return v === '-0' ? -0 : Number(String(v));
      case 'big': return BigInt(String(v));
      case 'sym': return Symbol(String(v));
      case 'o': {
        const object = {};
        for (const [key, item] of v) {
          Object.defineProperty(object, String(key), { value: decode(item), enumerable: true, writable: true, configurable: true });
        }
        return object;
      }
      case 'map': return new Map(v.map(([key, item]) => [decode(key), decode(item)]));
      case 'set': return new Set(v.map(decode));
      case 'date': return new Date(decode(v));
      case 're': return new RegExp(String(v[0]), String(v[1]));
      case 'view': return VIEWS[String(v[0])].from(v[1].map(decode));
      case 'err': return error(String(v[0]), String(v[1]));
      case 'own': {
        if (!(v in exported)) throw new TypeError('an unknown reference');
        return exported[v];
      }
      case 'fun':
      case 'ref': return remote(Number(v), data.t === 'fun');
    }
    throw new TypeError('an unknown tag');
  }

  function error(name, message) {
    const kind = Object.prototype.hasOwnProperty.call(ERRORS, name) ? ERRORS[name] : Error;
    const value = new kind(message);
    if (value.name !== name) value.name = name;
    return value;
  }

  // An object of the other end. Reading a property is a request; it cannot answer what it is compared with.
  function remote(number, callable) {
    let proxy = remotes.get(number);
    if (proxy) return proxy;
    const target = callable ? function () {} : {};
    proxy = new Proxy(target, {
      apply: (_, self, args) => call('call', proxy, args, self),
      construct: (_, args) => Object(call('construct', proxy, args)),
      get: (_, key) => (typeof key === 'symbol' ? symbolOf(proxy, key) : request('get', proxy, key)),
      set: (_, key, value) => typeof key === 'string' && (request('set', proxy, key, value), true),
      has: (_, key) => typeof key === 'string' && request('has', proxy, key) === true,
      deleteProperty: (_, key) => typeof key === 'string' && request('delete', proxy, key) === true,
      ownKeys: () => (callable ? Reflect.ownKeys(target) : request('keys', proxy).map(String)),
      getOwnPropertyDescriptor: (_, key) => {
        if (callable || typeof key !== 'string') return Reflect.getOwnPropertyDescriptor(target, key);
        return { value: request('get', proxy, key), enumerable: true, writable: true, configurable: true };
      },
    });
    remotes.set(number, proxy);
    numberOfRemote.set(proxy, number);
    return proxy;
  }

  function symbolOf(proxy, key) {
    if (key !== Symbol.iterator) return undefined;
    return function () {
      return request('items', proxy)[Symbol.iterator]();
    };
  }

  function request(operation, ...args) {
    return ask({ o: operation, a: args.map((arg) => encode(arg, [])) });
  }

  function call(operation, target, args, self) {
    const owner = self !== undefined && self !== null && numberOfRemote.has(self) ? self : undefined;
    return ask({ o: operation, a: [encode(target, []), args.map((arg) => encode(arg, [])), encode(owner, [])] }, args);
  }

  function ask(message, args) {
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
      if (args && reply.m !== undefined) update(args, decode(reply.m));
      if (reply.x !== undefined) {
        const raised = error(String(reply.x), String(reply.d));
        state.raised = { error: raised, reply };
        if (reply.p) return Promise.reject(raised);
        throw raised;
      }
      const value = args && reply.s !== undefined ? args[reply.s] : decode(reply.v);
      return reply.p ? Promise.resolve(value) : value;
    }
  }

  // Does what the other end asks for; gives the reply, or a promise of it.
  function answer(message) {
    let args;
    try {
      const operation = operations[message.o];
      if (operation === undefined) throw new TypeError('the operation is not allowed here');
      args = message.a.map(decode);
      const value = operation(...args);
      if (value !== null && typeof value === 'object' && typeof value.then === 'function' && !numberOfRemote.has(value)) {
        return value.then(
          (settled) => ({ ...finish(message, args, settled), p: 1 }),
          (reason) => ({ ...describe(reason), p: 1 }),
        );
      }
      return finish(message, args, value);
    } catch (reason) {
      return { ...describe(reason), ...mutated(message, args) };
    }
  }

  function answerNow(message) {
    const reply = answer(message);
    return typeof reply.then === 'function' ? { x: 'TypeError', d: 'a promise cannot be given here' } : reply;
  }

  function finish(message, args, value) {
    const reply = {};
    const index = isCall(message) && value !== null && typeof value === 'object' ? args[1].indexOf(value) : -1;
    if (index >= 0) reply.s = index;
    else reply.v = encode(value, []);
    return { ...reply, ...mutated(message, args) };
  }

  const isCall = (message) => message.o === 'call' || message.o === 'construct';

  // The arguments as they are now, when the call changed them.
  function mutated(message, args) {
    if (!args || !isCall(message) || !args[1].some((arg) => arg !== null && typeof arg === 'object')) return {};
    try {
      const after = args[1].map((arg) => encode(arg, []));
      return stringify(after) === stringify(message.a[1]) ? {} : { m: after };
    } catch {
      return {};
    }
  }

  function describe(reason) {
    try {
      const isError = reason instanceof Error || (reason && typeof reason.message === 'string');
      const place = isError && /solution\.js:(\d+)/.exec(String(reason.stack));
      return {
        x: isError ? String(reason.name) : 'Error',
        d: isError ? String(reason.message).slice(0, 400) : String(reason).slice(0, 400),
        l: place ? Number(place[1]) : null,
        c: isError && reason.code !== undefined ? String(reason.code) : null,
      };
    } catch {
      return { x: 'Error', d: '' };
    }
  }

  // Gives `old` the content of `value` in place, as far down as the shapes agree.
  function update(old, value) {
    if (isArray(old) && isArray(value)) {
      const merged = value.map((item, index) => (index < old.length ? update(old[index], item) : item));
      old.length = 0;
      old.push(...merged);
      return old;
    }
    const kind = (object) => (object !== null && typeof object === 'object' && !numberOfRemote.has(object) ? getPrototypeOf(object) : null);
    const proto = kind(old);
    if (proto === null || proto !== kind(value)) return value;
    if (proto === Object.prototype) {
      for (const key of keys(old)) if (!(key in value)) delete old[key];
      for (const key of keys(value)) old[key] = key in old ? update(old[key], value[key]) : value[key];
      return old;
    }
    if (proto === Map.prototype || proto === Set.prototype) {
      const items = [...value];
      old.clear();
      for (const item of items) proto === Map.prototype ? old.set(...item) : old.add(item);
      return old;
    }
    return value;
  }

  return { request, answer, describe, state, parse, stringify };
})
