const ANY_LEVEL = [['', 'any level'], ['debug', 'debug'], ['info', 'info'], ['warn', 'warn'], ['error', 'error']]

// Text with what was looked for.
function marked(text, wanted) {
  const at = wanted ? text.toLowerCase().indexOf(wanted.toLowerCase()) : -1
  return at < 0 ? [text] : [text.slice(0, at), el('mark', {}, text.slice(at, at + wanted.length)), text.slice(at + wanted.length)]
}

// The same, with the id of a trace as the way to it.
function linked(text, wanted) {
  const found = /trace[_.-]?id["']?\s*[:=]\s*["']?([0-9a-f]{32})\b/i.exec(text)
  if (!found) return marked(text, wanted)
  const at = found.index + found[0].length - 32
  return [marked(text.slice(0, at), wanted), el('a', { href: '#/traces/' + found[1].toLowerCase() }, marked(found[1], wanted)), marked(text.slice(at + 32), wanted)]
}

// --- what a service writes

// Lines as they come, of one service.
function reader(place, name) {
  const search = el('input', { type: 'search', id: 'log-search', placeholder: 'all lines' })
  const since = el('select', { id: 'log-since' }, [['', 'the last 500 lines'], ['300', '5 minutes'], ['3600', 'an hour'], ['86400', 'a day']].map(([value, text]) => el('option', { value }, text)))
  const level = el('select', { id: 'log-level' }, ANY_LEVEL.map(([value, text]) => el('option', { value }, text)))
  const follow = el('input', { type: 'checkbox', id: 'log-follow', checked: true })
  const box = el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': 'Log of ' + name })
  const note = el('p', { class: 'soft', role: 'status' })
  place.append(el('h3', {}, 'Log'), el('div', { class: 'row' }, el('label', { for: 'log-search' }, 'Search'), search, el('label', { for: 'log-level' }, 'At least'), level, el('label', { for: 'log-since' }, 'Since'), since,
    el('label', {}, follow, ' follow')), box, note)
  let source = null
  let release = null
  let timer = 0
  let turn = 0
  let closed = false

  function shut() {
    clearTimeout(timer)
    if (source) source.close()
    if (release) release()
    source = release = null
  }

  // As it is written where one of the places for a stream is free; else what there is, again and again.
  async function open() {
    shut()
    const own = ++turn
    if (closed || document.hidden) return
    const held = await streamPlace()
    if (own !== turn) return held && held()
    release = held
    const wanted = search.value.trim()
    const more = { service: name, tail: since.value ? 5000 : 500, ...some({ since: since.value, search: wanted, level: level.value, once: held ? '' : '1' }) }
    const opened = new EventSource('/api/logs?' + query(more))
    source = opened
    // It is asked from the beginning each time. Where lines are shown already, the new ones replace them as one, when
    // all that was written so far has come: whoever reads stays where he is.
    const replaces = () => !held || box.childElementCount > 0
    let gathers = replaces()
    const all = []
    opened.addEventListener('log', event => {
      const packet = JSON.parse(event.data)
      if (!gathers) return show(packet, wanted)
      all.push(packet)
      if (!held || packet.looked === undefined) return
      gathers = false
      before = ''
      replace(all.splice(0), wanted)
    })
    opened.addEventListener('error', () => {
      gathers = replaces()
      all.length = 0
      before = ''
      note.textContent = 'no connection; trying again …'
      if (opened.readyState === EventSource.CLOSED && source === opened) { shut(); timer = setTimeout(open, 2000) }
    })
    opened.addEventListener('end', () => {
      if (source !== opened) return
      if (gathers && all.length) replace(all, wanted)
      shut()
      timer = setTimeout(open, 3000)
    })
  }

  let before = ''
  let top = 0
  // What somebody reads stays while nobody can say what there is.
  function replace(packets, wanted) {
    const broken = packets.find(packet => packet.broken)
    if (!broken || packets.some(packet => packet.lines) || !box.querySelector('time')) return renew(packets, wanted)
    before = ''
    const why = plain(broken.note)
    if (note.textContent !== why) note.textContent = why
  }

  function renew(packets, wanted) {
    const text = JSON.stringify([packets, wanted])
    if (text === before) return
    before = text
    const reading = follow.checked ? null : firstSeen()
    note.textContent = ''
    box.replaceChildren()
    for (const packet of packets) show(packet, wanted)
    // what is no longer there was older than all that is
    if (reading) {
      box.scrollTop = 0
      const line = [...box.children].find(one => nameOf(one) === reading.name)
      if (line) box.scrollTop = line.getBoundingClientRect().top - reading.top
    }
    top = box.scrollTop
  }

  // The line at the top of what is seen.
  const nameOf = line => { const time = line.querySelector('time'); return time && time.dateTime + ' ' + line.textContent }
  function firstSeen() {
    const edge = box.getBoundingClientRect().top
    const line = [...box.children].find(one => nameOf(one) && one.getBoundingClientRect().bottom > edge)
    return line && { name: nameOf(line), top: line.getBoundingClientRect().top }
  }

  function show(packet, wanted) {
    if (packet.looked !== undefined) return told(packet.looked, wanted)
    note.textContent = ''
    add(packet, wanted)
  }

  // what there was before has been read
  function told(looked, wanted) {
    if (box.querySelector('time')) return
    const kind = [level.value && 'names the level ' + level.value + ' or a worse one', wanted && 'contains “' + wanted + '”'].filter(Boolean).join(' and ')
    const where = (since.value ? 'since then (' : 'so far (') + count(looked, 'line') + ')'
    note.textContent = !looked ? since.value ? 'Nothing was written since then.' : 'Nothing was written so far.' : kind ? 'No line ' + kind + ' ' + where + '. New ones appear here.' : ''
  }

  function add(packet, wanted) {
    const lines = (packet.lines || []).map(line => {
      const text = plain(line.text)
      return el('div', { class: [line.stderr && 'stderr', LEVELS[line.level] && 'level-' + LEVELS[line.level]].filter(Boolean).join(' '), title: line.stderr ? 'written to stderr' : null }, timeOf(line.time), ' ', linked(text, wanted))
    })
    if (packet.note) lines.push(el('div', { class: 'note' }, plain(packet.note)))
    box.append(...lines)
    while (box.childElementCount > MOST_LINES) box.firstChild.remove()
    if (follow.checked) box.scrollTop = box.scrollHeight
  }

  let typing = 0
  const anew = () => { box.replaceChildren(); before = ''; note.textContent = ''; open() }
  search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(anew, 300) })
  since.addEventListener('change', anew)
  level.addEventListener('change', anew)
  // whoever scrolls up wants to read; at the end it goes on
  box.addEventListener('scroll', () => {
    const end = box.scrollHeight - box.clientHeight - box.scrollTop < 30
    if (end) follow.checked = true
    else if (box.scrollTop < top) follow.checked = false
    top = box.scrollTop
  })
  follow.addEventListener('change', () => { if (follow.checked) box.scrollTop = box.scrollHeight })
  document.addEventListener('visibilitychange', open)
  open()
  return { close() { closed = true; document.removeEventListener('visibilitychange', open); open() } }
}

