const assert = require('node:assert');
const values = [
  undefined, null, true, 0, -0, 1.5, NaN, Infinity, -Infinity, 2n ** 70n, '', 'text', '\u00e9\u{1f600}', [], [1, [2, [undefined]]], {}, { a: 1, b: { c: [] } },
  new Map([[1, { a: 2 }], ['k', [3]]]), new Set([1, 'a']), new Date(86400000), /a+/gi, new Uint8Array([1, 2]), new Float64Array([0.5]), { __proto__: null, x: 1 }.x,
];
for (const value of values) assert.deepStrictEqual(f(value), value);
assert.ok(Array.isArray(f([1])) && f([1]) instanceof Array && f(new Map()) instanceof Map);
const shared = [1];
assert.ok(f(shared) === shared);
console.assert(Object.is(f(-0), -0));
