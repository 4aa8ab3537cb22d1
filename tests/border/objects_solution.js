class Stack {
  constructor() { this.items = []; }
  push(item) { this.items.push(item); return this; }
  get size() { return this.items.length; }
}
class Problem extends TypeError {}
let calls = 0;
function f(kind, ...args) {
  calls++;
  switch (kind) {
    case 'stack': return new Stack();
    case 'map': return args[1].map((x) => args[0](x));
    case 'sort': args[0].sort((a, b) => a - b); return undefined;
    case 'throw': throw new Problem('bad value');
    case 'async': return new Promise((resolve) => setTimeout(() => resolve(args[0] + 1), 5));
    case 'reject': return Promise.reject(new RangeError('later'));
    case 'items': return (function* () { yield 1; yield 2; })();
    case 'function': return (x) => x + 1;
  }
}
