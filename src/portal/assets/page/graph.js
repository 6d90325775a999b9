// --- what depends on what, and who calls whom

// Where each service stands: behind all that call or need it, but for ways that lead back. A way that passes by
// others has a place among them.
function places(names, edges) {
  const rank = new Map()
  const open = new Set()
  const visit = (name, depth) => {
    if (rank.get(name) >= depth) return
    rank.set(name, depth)
    open.add(name)
    for (const call of edges) if (call.from === name && !open.has(call.to)) visit(call.to, depth + 1)
    open.delete(name)
  }
  const called = new Set(edges.map(call => call.to))
  for (const name of names) if (!called.has(name)) visit(name, 0)
  // what only calls in a circle
  for (const name of names) if (!rank.has(name)) visit(name, 0)
  const rows = []
  for (const name of names) (rows[rank.get(name)] ||= []).push({ id: name, size: 1 })
  const steps = []
  const ways = edges.map((call, number) => {
    const between = []
    for (let row = rank.get(call.from) + 1; row < rank.get(call.to); row++) {
      between.push(number + ' ' + row)
      rows[row].push({ id: number + ' ' + row, size: .4 })
    }
    const all = [call.from, ...between, call.to]
    if (rank.get(call.to) > rank.get(call.from)) all.slice(1).forEach((id, at) => steps.push([all[at], id]))
    return between
  })
  const widest = Math.max(...rows.map(row => row.reduce((sum, one) => sum + one.size, 0)))
  const at = new Map()
  for (const row of rows) {
    const wanted = new Map(row.map(one => {
      const from = steps.filter(([before, id]) => id === one.id && at.has(before)).map(([before]) => at.get(before))
      return [one, from.length ? from.reduce((sum, place) => sum + place, 0) / from.length : widest]
    }))
    row.sort((one, other) => wanted.get(one) - wanted.get(other))
    let next = (widest - row.reduce((sum, one) => sum + one.size, 0)) / 2
    for (const one of row) { at.set(one.id, next + one.size / 2); next += one.size }
  }
  return { names, rows: rows.length, rank, at, ways, widest }
}

const clipped = (text, most) => text.length > most ? text.slice(0, most - 1) + '…' : text
let drawings = 0

// Boxes and the ways between them, from left to right, or downwards where there is no room.
// nodes: {name, tone, lines, href, title}; edges: {from, to, text, bad, width}.
function diagram(nodes, edges, down, label, dense) {
  const tall = Math.max(1, ...nodes.map(node => node.lines.filter(Boolean).length))
  const [width, height] = [down ? 150 : dense ? 160 : 184, 30 + 15 * tall]
  const names = nodes.map(node => node.name)
  const { rows, rank, at, ways, widest } = places(names, edges)
  const [depth, between, side, apart] = down ? [height, 56, width, 14] : [width, dense ? 64 : 124, height, dense ? 14 : 22]
  const own = ++drawings // the heads of arrows are found by their ids
  // lengths along the ways, and across them
  const along = name => rank.get(name) * (depth + between)
  const across = id => at.get(id) * (side + apart) - apart / 2
  const point = (one, other) => down ? [other, one] : [one, other]
  const line = (edge, number) => {
    const [from, to] = [across(edge.from), across(edge.to)]
    let path, middle
    if (rank.get(edge.to) > rank.get(edge.from)) {
      const stops = ways[number].map((id, at) => [along(edge.from) + (at + 1) * (depth + between), across(id)])
      let [here, place] = [along(edge.from) + depth, from]
      path = 'M' + point(here, place)
      for (const [next, there] of [...stops, [along(edge.to), to]]) {
        const half = (here + next) / 2
        middle ||= point(half, (place + there) / 2)
        path += 'C' + point(half, place) + ' ' + point(half, there) + ' ' + point(next, there)
        if (next !== along(edge.to)) path += 'L' + point(next + depth, there)
        ;[here, place] = [next + depth, there]
      }
    } else {
      // around, on the other side
      const [one, other, out] = [along(edge.from) + depth / 2, along(edge.to) + depth / 2, Math.max(from, to) + side / 2 + 44]
      path = 'M' + point(one, from + side / 2) + 'C' + point(one, out) + ' ' + point(other, out) + ' ' + point(other, to + side / 2)
      middle = point((one + other) / 2, out - 12)
    }
    return [svg('path', { class: edge.bad ? 'call failed' : 'call', d: path, 'stroke-width': (edge.width || 1.2).toFixed(1), 'marker-end': 'url(#' + (edge.bad ? 'failed' : 'to') + own + ')' }),
      edge.text ? svg('text', { class: edge.bad ? 'call failed' : 'call', x: middle[0], y: middle[1] + (down ? 4 : -5), 'text-anchor': 'middle' }, edge.text) : null]
  }
  const box = node => {
    const [x, y] = point(along(node.name), across(node.name) - side / 2)
    return svg('a', { class: 'service ' + (node.tone || ''), href: node.href, 'data-name': node.name, 'data-key': 'node ' + node.name }, svg('title', {}, plain(node.title || node.name)), svg('rect', { x, y, width, height, rx: 8 }),
      svg('text', { x: x + 10, y: y + 19, class: 'name' }, clipped(plain(node.name), down ? 14 : dense ? 15 : 20)),
      node.lines.map((text, at) => svg('text', { x: x + 10, y: y + 36 + 15 * at }, clipped(plain(text), down ? 22 : 28))))
  }
  const tip = (id, tone) => svg('marker', { id: id + own, class: tone, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' }, svg('path', { d: 'M0 0L8 4L0 8z' }))
  const around = edges.some(edge => rank.get(edge.to) <= rank.get(edge.from)) ? 50 : 0
  const [w, h] = point(rows * (depth + between) - between + 8, widest * (side + apart) - apart + 8 + around)
  // first what lies behind
  const lines = edges.map(line)
  return svg('svg', { class: 'map', viewBox: [-4, -4, w, h].join(' '), width: w, height: h, role: 'group', 'aria-label': label },
    svg('defs', {}, tip('to', ''), tip('failed', 'failed')), lines.map(([path]) => path), nodes.map(box), lines.map(([, text]) => text))
}

const UNTIL = { service_started: '', service_healthy: 'healthy', service_completed_successfully: 'done' }
const WAITS = { service_started: 'starts once it is started', service_healthy: 'starts once it is healthy', service_completed_successfully: 'starts once it is done' }

// Who needs whom, of all services that are there or of those around one.
function needing(around) {
  const rows = ((state || {}).status || {}).services || []
  const known = new Map(rows.filter(row => row.condition !== 'left_out' || row.name === around).map(row => [row.name, row]))
  let edges = [...known.values()].flatMap(row => Object.entries(row.needs || {}).filter(([name]) => known.has(name)).map(([to, until]) =>
    ({ from: row.name, to, until, text: UNTIL[until] || '', bad: lacks(row).includes(to) })))
  if (around) {
    // what it needs and what that needs, and the same the other way
    const reach = (one, other) => {
      const found = new Set([around])
      for (const name of found) for (const edge of edges) if (edge[one] === name) found.add(edge[other])
      return found
    }
    const [below, above] = [reach('from', 'to'), reach('to', 'from')]
    edges = edges.filter(edge => (below.has(edge.from) && below.has(edge.to)) || (above.has(edge.from) && above.has(edge.to)))
  }
  const names = new Set(edges.flatMap(edge => [edge.from, edge.to]))
  return { edges, rows: [...known.values()].filter(row => names.has(row.name)), alone: [...known.values()].filter(row => !names.has(row.name)) }
}

// Drawn, and the same as a table for whoever does not see it.
function needsDrawn(place, around) {
  const found = needing(around)
  const down = (place.clientWidth || innerWidth) < 640
  const nodes = found.rows.map(row => {
    const [tone, word] = mood(row)
    return { name: row.name, tone: (tone === 'bad' ? 'failed' : tone) + (row.name === around ? ' here' : ''), lines: [word], href: '#/service/' + encodeURIComponent(row.name), title: row.name + ': ' + word }
  })
  put(place, [nodes, found.edges, down, found.alone.map(row => row.name)], () => [
    nodes.length ? [el('div', { class: 'scroll card', tabindex: '0', role: 'region', 'aria-label': 'Graph of what needs what' }, diagram(nodes, found.edges, down, 'Graph of ' + count(nodes.length, 'service') + '; the table below says the same', true)),
      el('p', { class: 'soft' }, 'An arrow leads to what is needed; with “healthy” or “done” its start is waited for until then.'),
      el('details', {}, el('summary', {}, 'The same as a table'), simple('Needs', ['Service', 'Needs', 'When'], found.edges.map(edge => [service(edge.from), [service(edge.to), edge.bad ? [' ', badge('bad', 'does not run')] : null], WAITS[edge.until] || '']), true))] :
      el('p', { class: 'soft' }, around ? 'It needs nothing, and nothing needs it.' : 'No service needs another one.'),
    !around && nodes.length && found.alone.length ? el('p', { class: 'soft' }, 'Alone: ', found.alone.map((row, at) => [at ? ', ' : '', service(row.name)])) : null])
}

function wholeGraph(place) {
  const box = el('div')
  place.append(el('h2', {}, 'What depends on what'), box)
  return { update() { if (state.status) needsDrawn(box) } }
}
