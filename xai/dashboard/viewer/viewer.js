// The heat map viewer: one image and the maps over it, drawn on canvases that zoom, pan and point together.
// Nothing here asks the server for anything: looks, zoom and hover are settled in the browser.

const HINT = "Wheel or + and − zoom, drag moves, arrow keys move the probe (with Shift ten pixels), Esc lets go."

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".viewer")
  root.viewer ??= new Viewer(root)
  root.viewer.show(data)
  return () => root.viewer.close()
}

/** What the panels share: the image, the looks, the window on it, the probe. */
class Viewer {
  constructor(root) {
    this.root = root
    this.find = (name) => root.querySelector(name)
    this.panels = []
    this.view = { zoom: 1, left: 0, top: 0 }
    this.probe = null
    this.current = 0 // the panel pointed at last
    this.pointers = new Map()
    this.observer = new ResizeObserver(() => this.draw())
    this.listen()
  }

  close() {
    this.observer.disconnect()
  }

  async show(data) {
    this.observer.observe(this.find(".grid"))
    if (this.data === data || !data) return
    this.data = data
    const image = await loaded(data.image.src)
    if (this.data !== data) return // a newer one came meanwhile
    const fresh = this.frame?.src !== data.image.src
    Object.assign(this, { frame: data.image, seen: data.seen, image })
    if (fresh) {
      this.grey = greyed(image, data.image.width, data.image.height)
      Object.assign(this, { view: { zoom: 1, left: 0, top: 0 }, probe: null })
    }
    this.arrange(data)
    this.offer()
    this.look()
  }

  /** Keep as many panels as there are maps, so that focus survives new data. */
  arrange({ panels, image: frame }) {
    while (this.panels.length > panels.length) this.panels.pop().figure.remove()
    while (this.panels.length < panels.length) {
      const panel = new Panel(this.find(".grid"), this)
      this.panels.push(panel)
      this.follow(panel)
    }
    this.panels.forEach((panel, k) => panel.fill(panels[k], frame))
    this.find(".grid").classList.toggle("several", panels.length > 1)
    const { width, height, columns, rows } = frame
    const scaled = width !== columns ? ` Shown at ${width} × ${height}; values are those of the original ${columns} × ${rows} pixels.` : ""
    this.find(".hint").textContent = HINT + scaled
  }

  /** Offer the colours that suit the maps. */
  offer() {
    const select = this.find(".colours")
    const all = this.panels.every((panel) => panel.signed)
    const names = all ? [SIGNED, "grey"] : ["inferno", "viridis", "grey"]
    if (names.join() === Array.from(select.options, (option) => option.value).join()) return
    const kept = names.includes(select.value) ? select.value : names[0]
    select.replaceChildren(...names.map((name) => new Option(CALLED[name], name)))
    select.value = kept
  }

  listen() {
    for (const control of this.root.querySelectorAll(".looks input, .looks select")) {
      control.addEventListener("input", () => this.look())
    }
    const clicks = {
      ".in": () => this.zoomBy(1.5),
      ".out": () => this.zoomBy(1 / 1.5),
      ".whole": () => this.zoomBy(0),
      ".strongest": () => this.move((this.panels[this.current] ?? this.panels[0]).strongest(), true),
    }
    for (const [name, act] of Object.entries(clicks)) this.find(name).addEventListener("click", act)
  }

  look() {
    this.looks = {
      mode: this.find(".modes input:checked").value,
      opacity: this.find(".opacity").value / 100,
      threshold: this.find(".threshold").value / 100,
      colours: this.find(".colours").value,
    }
    this.find(".opacity-text").textContent = `${this.find(".opacity").value} %`
    this.find(".threshold-text").textContent = `${this.find(".threshold").value} %`
    this.draw()
  }

  draw() {
    if (this.waiting || !this.frame) return
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null
      this.panels.forEach((panel) => panel.paint())
    })
  }

  /** Zoom around a place in the window, given from 0 to 1; a factor of 0 shows the whole image. */
  zoomBy(factor, x = 0.5, y = 0.5) {
    const { zoom, left, top } = this.view
    const most = Math.max(4, Math.max(this.frame.width, this.frame.height) / 8)
    const next = clamp(zoom * factor, 1, most)
    this.view.zoom = next
    this.pan(left + x / zoom - x / next, top + y / zoom - y / next)
  }

  pan(left, top) {
    const most = 1 - 1 / this.view.zoom
    Object.assign(this.view, { left: clamp(left, 0, most), top: clamp(top, 0, most) })
    this.root.classList.toggle("zoomed", this.view.zoom > 1)
    this.draw()
  }

  original({ x, y }) {
    const { width, height, columns, rows } = this.frame
    return { column: Math.floor(((x + 0.5) * columns) / width), row: Math.floor(((y + 0.5) * rows) / height) }
  }

  isSeen(column, row) {
    const [top, left, bottom, right] = this.seen
    return column + 0.5 > left && column + 0.5 < right && row + 0.5 > top && row + 0.5 < bottom
  }

  /** Put the probe on an image pixel; aloud for those who use the keyboard. */
  move(probe, aloud = false) {
    const { width, height } = this.frame
    this.probe = probe && { x: clamp(probe.x, 0, width - 1), y: clamp(probe.y, 0, height - 1) }
    if (aloud && this.probe) {
      this.reveal((this.probe.x + 0.5) / width, (this.probe.y + 0.5) / height)
      const { column, row } = this.original(this.probe)
      const values = this.panels.map((panel) => `${panel.data.title} ${format(panel.at(this.probe))}`)
      this.find(".live").textContent = `x ${column}, y ${row}: ${values.join("; ")}`
    }
    this.draw()
  }

  /** Pan until a place of the image, given from 0 to 1, is in the window. */
  reveal(x, y) {
    const span = 1 / this.view.zoom
    const { left, top } = this.view
    this.pan(clamp(left, x - 0.95 * span, x - 0.05 * span), clamp(top, y - 0.95 * span, y - 0.05 * span))
  }

  follow(panel) {
    const { canvas } = panel
    const place = (event) => {
      const box = canvas.getBoundingClientRect()
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height }
    }
    const listeners = {
      pointerdown: (event) => this.press(event, place(event), canvas),
      pointermove: (event) => this.drag(event, place(event)),
      pointerup: (event) => this.pointers.delete(event.pointerId),
      pointercancel: (event) => this.pointers.delete(event.pointerId),
      pointerleave: (event) => event.pointerType === "mouse" && this.move(null),
      keydown: (event) => this.key(event),
      pointerenter: () => (this.current = this.panels.indexOf(panel)),
      focus: () => (this.current = this.panels.indexOf(panel)),
    }
    for (const [name, act] of Object.entries(listeners)) canvas.addEventListener(name, act)
    canvas.addEventListener("wheel", (event) => this.wheel(event, place(event)), { passive: false })
  }

  press(event, place, canvas) {
    this.pointers.set(event.pointerId, place)
    if (this.view.zoom > 1) canvas.setPointerCapture(event.pointerId)
    this.drag(event, place)
  }

  drag(event, place) {
    const { zoom, left, top } = this.view
    const before = this.pointers.get(event.pointerId)
    if (before) {
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, other]) => other)
      this.pointers.set(event.pointerId, place)
      if (others.length) return this.pinch(before, place, others[0])
      this.pan(left - (place.x - before.x) / zoom, top - (place.y - before.y) / zoom)
    }
    const { width, height } = this.frame
    const x = (this.view.left + place.x / zoom) * width
    const y = (this.view.top + place.y / zoom) * height
    this.move({ x: Math.floor(x), y: Math.floor(y) })
  }

  pinch(before, after, fixed) {
    const apart = (place) => Math.hypot(place.x - fixed.x, place.y - fixed.y) || 1e-6
    this.zoomBy(apart(after) / apart(before), fixed.x, fixed.y)
  }

  wheel(event, place) {
    if (event.deltaY > 0 && this.view.zoom === 1) return // let the page scroll on
    event.preventDefault()
    this.zoomBy(Math.exp(-0.002 * event.deltaY * (event.deltaMode ? 16 : 1)), place.x, place.y)
    this.drag(event, place)
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1
    const steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }
    const acts = { "+": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5), 0: () => this.zoomBy(0), Escape: () => this.move(null) }
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (steps[event.key]) {
      const from = this.probe ?? { x: Math.floor(this.frame.width / 2), y: Math.floor(this.frame.height / 2) }
      this.move({ x: from.x + steps[event.key][0], y: from.y + steps[event.key][1] }, true)
    } else if (acts[event.key]) acts[event.key]()
    else return
    event.preventDefault()
  }
}
