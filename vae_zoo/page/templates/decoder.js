// The decoder, over typed arrays. Each tensor is a Float32Array in C order, of one image.
"use strict";

const sizeOf = shape => shape.reduce((a, b) => a * b, 1);

// a (m, k) times b (k, n), in tiles of 2 x 4 sums, which fit into a processor's registers. The last tiles overlap.
function product(a, b, m, k, n) {
  const out = new Float32Array(m * n);
  if (m < 2 || n < 4) {
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[i * k + p] * b[p * n + j];
      out[i * n + j] = sum;
    }
    return out;
  }
  for (let column = 0; column < n; column += 4) for (let row = 0; row < m; row += 2) {
    const i = Math.min(row, m - 2), j = Math.min(column, n - 4), first = i * k, second = first + k;
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    for (let p = 0, q = j; p < k; p++, q += n) {
      const x = a[first + p], y = a[second + p], u = b[q], v = b[q + 1], w = b[q + 2], z = b[q + 3];
      s0 += x * u; s1 += x * v; s2 += x * w; s3 += x * z;
      t0 += y * u; t1 += y * v; t2 += y * w; t3 += y * z;
    }
    const above = i * n + j, below = above + n;
    out[above] = s0; out[above + 1] = s1; out[above + 2] = s2; out[above + 3] = s3;
    out[below] = t0; out[below + 1] = t1; out[below + 2] = t2; out[below + 3] = t3;
  }
  return out;
}

// Where each tap of a kernel lies in a map (height, width), for each place of the other map (rows, columns): taps, then
// places; -1 outside.
function tapsOf([height, width], [kh, kw], [rows, columns], layer) {
  const [[down, across], [top, left], [dy, dx]] = [layer.stride, layer.padding, layer.dilation];
  const places = new Int32Array(kh * kw * rows * columns);
  let next = 0;
  for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++)
    for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
      const y = i * down - top + ky * dy, x = j * across - left + kx * dx;
      places[next++] = y >= 0 && y < height && x >= 0 && x < width ? y * width + x : -1;
    }
  return places;
}

// The places in a row of numbers that a view of it looks at.
function placesOf(shape, strides, offset) {
  let places = Int32Array.of(offset);
  shape.forEach((size, d) => {
    const next = new Int32Array(places.length * size);
    for (let p = 0, q = 0; p < places.length; p++)
      for (let i = 0; i < size; i++) next[q++] = places[p] + i * strides[d];
    places = next;
  });
  return places;
}

function broadcastPlaces(from, to) {
  const strides = to.map(() => 0);
  for (let d = from.length - 1, step = 1; d >= 0; step *= from[d--])
    if (from[d] > 1) strides[to.length - from.length + d] = step;
  return placesOf(to, strides, 0);
}

const each = f => (layer, x) => {
  const out = new Float32Array(x.length);
  for (let i = 0; i < out.length; i++) out[i] = f(x[i], layer);
  return out;
};

const both = f => (layer, a, b) => {
  const out = new Float32Array(sizeOf(layer.shape));
  layer.places ??= layer.shapes.map(shape => sizeOf(shape) === out.length ? null : broadcastPlaces(shape, layer.shape));
  const [pa, pb] = layer.places;
  for (let i = 0; i < out.length; i++) out[i] = f(a[pa ? pa[i] : i], b[pb ? pb[i] : i]);
  return out;
};

const OPERATIONS = {
  relu: each(x => Math.max(x, 0)),
  silu: each(x => x / (1 + Math.exp(-x))),
  sigmoid: each(x => 1 / (1 + Math.exp(-x))),
  tanh: each(Math.tanh),
  exp: each(Math.exp),
  leaky_relu: each((x, layer) => x > 0 ? x : x * layer.negative_slope),
  elu: each((x, layer) => x > 0 ? x : layer.alpha * Math.expm1(x)),
  softplus: each((x, { beta, threshold }) => x * beta > threshold ? x : Math.log1p(Math.exp(x * beta)) / beta),
  add: both((a, b) => a + b),
  sub: both((a, b) => a - b),
  mul: both((a, b) => a * b),
  div: both((a, b) => a / b),

  linear(layer, x, weight, bias) {
    const out = product(weight, x, bias.length, x.length, 1);
    for (let i = 0; i < out.length; i++) out[i] += bias[i];
    return out;
  },

  // The patches of the image as columns, then one product.
  conv2d(layer, x, weight, bias) {
    const [[, channels, ...side], [out, ...kernel]] = layer.shapes, [, , ...sides] = layer.shape;
    const taps = layer.taps ??= tapsOf(side, kernel.slice(1), sides, layer), area = sizeOf(side), n = sizeOf(sides);
    const columns = new Float32Array(channels * taps.length);
    for (let c = 0, q = 0; c < channels; c++) for (let i = 0; i < taps.length; i++, q++)
      if (taps[i] >= 0) columns[q] = x[c * area + taps[i]];
    const made = product(weight, columns, out, sizeOf(kernel), n);
    for (let c = 0, q = 0; c < out; c++) for (let i = 0; i < n; i++, q++) made[q] += bias[c];
    return made;
  },

  // One product, then its columns added up as patches of the image: the reverse.
  conv_transpose2d(layer, x, weight, bias) {
    const [[, channels, ...side], [out, ...kernel]] = layer.shapes, [, , ...sides] = layer.shape;
    const taps = layer.taps ??= tapsOf(sides, kernel.slice(0, 2), side, layer), area = sizeOf(sides);
    const columns = product(weight, x, out * kernel[0] * kernel[1], channels, sizeOf(side));
    const made = new Float32Array(out * area);
    for (let c = 0, q = 0; c < out; c++) {
      made.fill(bias[c], c * area, (c + 1) * area);
      for (let i = 0; i < taps.length; i++, q++) if (taps[i] >= 0) made[c * area + taps[i]] += columns[q];
    }
    return made;
  },

  normalise(layer, x) {
    const out = new Float32Array(x.length), n = x.length / layer.groups;
    for (let begin = 0; begin < x.length; begin += n) {
      let mean = 0, variance = 0;
      for (let i = begin; i < begin + n; i++) mean += x[i] / n;
      for (let i = begin; i < begin + n; i++) variance += (x[i] - mean) ** 2 / n;
      for (let i = begin; i < begin + n; i++) out[i] = (x[i] - mean) / Math.sqrt(variance + layer.eps);
    }
    return out;
  },

  take(layer, x) {
    layer.places ??= placesOf(layer.shape, layer.strides, layer.offset);
    return Float32Array.from(layer.places, place => x[place]);
  },

  cat(layer, ...parts) {
    const out = new Float32Array(sizeOf(layer.shape)), dim = (layer.dim + layer.shape.length) % layer.shape.length;
    const rows = layer.shapes.map(shape => sizeOf(shape.slice(dim)));
    for (let begin = 0, row = 0; begin < out.length; row++)
      parts.forEach((part, i) => {
        out.set(part.subarray(row * rows[i], (row + 1) * rows[i]), begin);
        begin += rows[i];
      });
    return out;
  },
};

// The constants from base64: float32, or of each row a scale and then 16 bits for each number.
function unpack({ constants, bits }, base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length), found = {};
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { number, shape, labelled } of constants) {
    const data = new Float32Array(sizeOf(shape)), rows = shape[0], row = data.length / rows;
    if (bits === 32 || shape.length < 2) {
      for (let i = 0; i < data.length; i++, at += 4) data[i] = view.getFloat32(at, true);
    } else {
      const scales = at;
      at += 4 * rows;
      for (let i = 0; i < data.length; i++, at += 2)
        data[i] = view.getInt16(at, true) * view.getFloat32(scales + 4 * Math.floor(i / row), true);
    }
    found[number] = label => labelled ? data.subarray(label * row, (label + 1) * row) : data;
  }
  return found;
}

// The function from a code (D) and a label to an image (C, H, W) in [0, 1].
function makeDecoder(model, base64) {
  const constants = unpack(model, base64);
  return (code, label) => {
    const values = { 0: Float32Array.from(code) };
    for (const number in constants) values[number] = constants[number](label);
    for (const layer of model.layers)
      values[layer.to] = OPERATIONS[layer.op](layer, ...layer.from.map(number => values[number]));
    return values[model.output];
  };
}
