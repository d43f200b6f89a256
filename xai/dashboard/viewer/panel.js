// One map of the viewer: its values, its colours, its canvas. Loaded in front of viewer.js.

const RAMPS = {
  inferno:
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
  viridis:
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
  grey: "000000 ffffff",
  // for signed values, with grey where there is no evidence (Moreland 2009)
  signed:
    "3b4cc0 4e68d8 6282ea 779af7 8db0fe a3c2fe b9d0f9 ccd9ed dddcdc ecd3c5 f5c4ac f7b093 f4987a eb7d62 dd5f4b ca3b37 b40426",
}
const SIGNED = "signed"
const CALLED = { inferno: "Inferno", viridis: "Viridis", grey: "Grey tones", [SIGNED]: "Blue to red" }
const PIXELATED_FROM = 3 // screen pixels per image pixel

/** Where the colours end: the largest size, but for a few pixels far above the others, as in the figures of xai.plots. */
const limit = (values, largest) => {
  const sizes = values.map(Math.abs).sort()
  const usual = sizes[Math.floor(0.99 * (sizes.length - 1))]
  return usual > 0 && usual < largest / 2 ? usual : largest
}
const clamp = (value, low, high) => Math.min(high, Math.max(low, value))
const parts = (hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16))

/** A number with four significant digits, without trailing zeros. */
function format(value) {
  const small = value !== 0 && Math.abs(value) < 1e-3
  const text = small ? value.toExponential(3).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(4)))
  return text.replaceAll("-", "−")
}

/** 256 colours, four bytes each. */
function table(name) {
  const stops = RAMPS[name].split(" ").map(parts)
  const colours = new Uint8ClampedArray(256 * 4)
  for (let k = 0; k < 256; k++) {
    const place = (k / 255) * (stops.length - 1)
    const below = Math.min(Math.floor(place), stops.length - 2)
    const colour = stops[below].map((low, c) => low + (place - below) * (stops[below + 1][c] - low))
    colours.set([...colour, 255], 4 * k)
  }
  return colours
}

function element(tag, name, parent) {
  const made = document.createElement(tag)
  made.className = name
  parent.append(made)
  return made
}

function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))
  return new Float32Array(bytes.buffer)
}

async function loaded(src) {
  const image = new Image()
  image.src = src
  await image.decode()
  return image
}

/** The image without its colours, so that those of the map stand out. */
function greyed(image, width, height) {
  const canvas = new OffscreenCanvas(width, height)
  const context = canvas.getContext("2d", { willReadFrequently: true })
  context.drawImage(image, 0, 0, width, height)
  const pixels = context.getImageData(0, 0, width, height)
  for (let k = 0; k < pixels.data.length; k += 4) {
    const mean = (pixels.data[k] + pixels.data[k + 1] + pixels.data[k + 2]) / 3
    pixels.data.fill(mean, k, k + 3)
  }
  context.putImageData(pixels, 0, 0)
  return canvas
}

/** One map: its values, its colours, its place on the page. */
class Panel {
  constructor(grid, viewer) {
    this.viewer = viewer
    this.figure = element("figure", "panel", grid)
    this.title = element("div", "title", this.figure)
    this.stage = element("div", "stage", this.figure)
    this.canvas = element("canvas", "", this.stage)
    this.tip = element("div", "tip", this.stage)
    this.value = element("span", "value", this.tip)
    this.tip.append(" ")
    this.place = element("span", "place", this.tip)
    this.scale = element("div", "scale", this.figure)
    this.ramp = element("div", "ramp", this.scale)
    this.marker = element("div", "marker", this.ramp)
    const ticks = element("div", "ticks", this.scale)
    this.ends = ["low", "unit", "high"].map((name) => element("span", name, ticks))
    this.alt = element("figcaption", "alt", this.figure)
    this.canvas.tabIndex = 0
    this.canvas.setAttribute("role", "application")
    this.canvas.setAttribute("aria-roledescription", "heat map")
  }

  fill(data, frame) {
    this.data = data
    this.values = decode(data.values)
    this.signed = data.low < 0
    const largest = Math.max(Math.abs(data.low), Math.abs(data.high)) || 1
    this.top = limit(this.values, largest)
    const beyond = largest > this.top
    this.layer = new OffscreenCanvas(frame.width, frame.height)
    this.title.textContent = data.title
    this.alt.textContent = data.alt
    this.canvas.setAttribute("aria-label", `${data.alt} ${HINT}`)
    this.figure.style.setProperty("--ratio", frame.width / frame.height)
    const texts = this.signed ? [`${beyond ? "≤ " : ""}${format(-this.top)}`, `0 · ${data.unit}`] : ["0", data.unit]
    texts.push(`${beyond ? "≥ " : ""}${format(this.top)}`)
    this.ends.forEach((end, k) => (end.textContent = texts[k]))
    this.coloured = null
  }

  /** Paint the values into the layer, unless it has these looks already. */
  colour(looks) {
    const wanted = JSON.stringify(looks)
    if (this.coloured === wanted) return
    this.coloured = wanted
    const ramp = this.signed && looks.colours !== "grey" ? SIGNED : looks.colours
    const colours = table(ramp === SIGNED && !this.signed ? "inferno" : ramp)
    const context = this.layer.getContext("2d")
    const pixels = context.createImageData(this.layer.width, this.layer.height)
    const target = new Uint32Array(pixels.data.buffer)
    const source = new Uint32Array(colours.buffer)
    const least = looks.threshold * this.top
    for (let k = 0; k < target.length; k++) {
      const size = Math.abs(this.values[k])
      if (size < least) continue
      target[k] = source[this.step(this.values[k])]
      // in the overlay the weak parts let the image through
      if (looks.mode === "overlay") pixels.data[4 * k + 3] = 255 * looks.opacity * Math.sqrt(size / this.top)
    }
    context.putImageData(pixels, 0, 0)
    this.ramp.style.background = gradient(colours)
  }

  step(value) {
    const share = this.signed ? (value / this.top + 1) / 2 : value / this.top
    return clamp(Math.round(255 * share), 0, 255)
  }

  paint() {
    const { looks, view, frame, image, grey, seen } = this.viewer
    this.colour(looks)
    const ratio = window.devicePixelRatio || 1
    const width = Math.round(this.canvas.clientWidth * ratio)
    const height = Math.round(this.canvas.clientHeight * ratio)
    if (!width || !height) return
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height })
    const context = this.canvas.getContext("2d")
    const across = (width * view.zoom) / frame.width
    const down = (height * view.zoom) / frame.height
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.clearRect(0, 0, width, height)
    context.setTransform(across, 0, 0, down, -view.left * view.zoom * width, -view.top * view.zoom * height)
    context.imageSmoothingEnabled = across < PIXELATED_FROM * ratio
    if (looks.mode !== "map") context.drawImage(looks.mode === "overlay" ? grey : image, 0, 0, frame.width, frame.height)
    if (looks.mode !== "image") {
      context.drawImage(this.layer, 0, 0)
      context.save()
      hatch(context, seen, frame)
      context.restore()
    }
    if (this.viewer.probe) cross(context, this.viewer.probe, across, frame)
    this.point()
  }

  /** Put the value under the probe beside it, and mark it on the scale. */
  point() {
    const { probe, frame, view } = this.viewer
    this.tip.hidden = this.marker.hidden = !probe
    if (!probe) return
    const value = this.at(probe)
    const { column, row } = this.viewer.original(probe)
    this.value.textContent = format(value)
    const place = `at x ${column}, y ${row}`
    this.place.textContent = place + (this.viewer.isSeen(column, row) ? "" : " (not seen by the model)")
    this.marker.style.left = `${(100 * this.step(value)) / 255}%`
    const x = ((probe.x + 0.5) / frame.width - view.left) * view.zoom * this.stage.clientWidth
    const y = ((probe.y + 0.5) / frame.height - view.top) * view.zoom * this.stage.clientHeight
    const { offsetWidth: wide, offsetHeight: high } = this.tip
    this.tip.style.left = `${clamp(x + 14, 4, Math.max(4, this.stage.clientWidth - wide - 4))}px`
    this.tip.style.top = `${y > high + 18 ? y - high - 12 : y + 14}px`
  }

  at({ x, y }) {
    return this.values[y * this.viewer.frame.width + x]
  }

  strongest() {
    let best = 0
    this.values.forEach((value, k) => {
      if (Math.abs(value) > Math.abs(this.values[best])) best = k
    })
    const { width } = this.viewer.frame
    return { x: best % width, y: Math.floor(best / width) }
  }
}

function gradient(colours) {
  const stops = Array.from({ length: 17 }, (_, k) => colours.subarray(4 * Math.round((255 * k) / 16)))
  return `linear-gradient(to right, ${stops.map(([r, g, b]) => `rgb(${r},${g},${b})`).join(",")})`
}

/** Hatch what the model does not see. */
function hatch(context, [top, left, bottom, right], { width, height, columns, rows }) {
  const [x0, x1] = [left, right].map((x) => (x * width) / columns)
  const [y0, y1] = [top, bottom].map((y) => (y * height) / rows)
  context.beginPath()
  context.rect(0, 0, width, height)
  context.rect(x0, y0, x1 - x0, y1 - y0)
  context.fillStyle = "rgba(128, 132, 140, 0.45)"
  context.fill("evenodd")
  context.setTransform(1, 0, 0, 1, 0, 0) // the lines stay as they are when the image grows
  context.fillStyle = context.createPattern(lines(), "repeat")
  context.fill("evenodd")
}

/** A tile of thin slanted lines. */
function lines() {
  const tile = new OffscreenCanvas(12, 12)
  const context = tile.getContext("2d")
  context.strokeStyle = "rgba(255, 255, 255, 0.4)"
  for (const x of [-12, 0, 12]) {
    context.moveTo(x, 12)
    context.lineTo(x + 12, 0)
  }
  context.stroke()
  return tile
}

function cross(context, { x, y }, across, { width, height }) {
  for (const [colour, wide] of [["rgba(0,0,0,0.55)", 3], ["rgba(255,255,255,0.95)", 1]]) {
    context.strokeStyle = colour
    context.lineWidth = wide / across
    context.beginPath()
    context.moveTo(x + 0.5, 0)
    context.lineTo(x + 0.5, height)
    context.moveTo(0, y + 0.5)
    context.lineTo(width, y + 0.5)
    context.stroke()
  }
}
