// --- names and doctor: looked at when asked

function asked(place, title, about, path, show) {
  const box = el('div', { 'aria-live': 'polite' })
  const button = el('button', { type: 'button', class: 'main', onclick: look }, 'Check again')
  place.append(el('h2', {}, title), el('p', { class: 'soft' }, about), el('div', { class: 'row' }, button), box)
  async function look() {
    button.disabled = true
    box.replaceChildren(el('p', {}, 'looking …'))
    const answer = await ask(path + '?' + query())
    box.replaceChildren(...[answer && answer.error ? trouble(answer.error) : show(answer)].flat(9).filter(Boolean))
    button.disabled = false
  }
  look()
  return { update() {} }
}

const HOPS = ['look-up', 'dns', 'connect', 'tls', 'http', 'service', 'inside']
const SIGNS = { ok: ['good', '✓', 'works'], broken: ['bad', '✗', 'broken'], unknown: ['idle', '?', 'not known'] }

function names(place) {
  return asked(place, 'Names', 'Each name walked hop by hop, on this machine and from a container, as by macula validate.', '/api/names', found => [
    found.broken.map(fault => el('div', { class: 'card' }, el('p', {}, badge('bad', fault.hop), ' ', rich(fault.text)),
      fault.names.length ? el('p', { class: 'soft' }, fault.names.join(', ')) : null, fault.hints.map(line => el('p', {}, rich(line))), fault.try.map(command))),
    found.ok && found.names.length ? el('p', {}, badge('good', 'every name works')) : null,
    !found.names.length ? el('p', { class: 'soft' }, 'No service that runs has a name or a published port.') : el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Names' }, el('table', {}, el('thead', {}, el('tr', {}, ['Name', 'Service', ...HOPS].map(head => el('th', { scope: 'col' }, head)))),
      el('tbody', {}, found.names.map(row => el('tr', {}, el('th', { scope: 'row' }, row.name), el('td', {}, service(row.service)), HOPS.map(hop => {
        const there = row.hops.find(one => one.hop === hop)
        if (!there) return el('td', { class: 'hop soft' }, '–')
        const [tone, sign, word] = SIGNS[there.state] || SIGNS.unknown
        const seen = Array.isArray(there.seen) ? there.seen.join('\n') : String(there.seen || '')
        return el('td', { class: 'hop' }, el('span', { class: 'state ' + tone, title: plain(seen) }, el('span', { 'aria-hidden': 'true' }, sign), el('span', { class: 'out-of-sight' }, word)))
      })))))),
  ])
}

const FOUND = { ok: ['good', 'ok'], warning: ['busy', 'warning'], failed: ['bad', 'failed'], skipped: ['idle', 'skipped'] }
const RANK = ['failed', 'warning', 'ok', 'skipped']

function doctor(place) {
  return asked(place, 'Doctor', 'What this machine needs, as by macula doctor. Nothing is changed from here.', '/api/doctor', findings =>
    findings.slice().sort((one, other) => RANK.indexOf(one.status) - RANK.indexOf(other.status)).map(found => {
      const [tone, word] = FOUND[found.status] || FOUND.skipped
      const open = tone === 'bad' || tone === 'busy'
      return el(open ? 'div' : 'p', { class: open ? 'card' : '' }, badge(tone, word), ' ', el('strong', {}, found.check), ' ', rich(found.summary),
        open ? [found.detail.map(line => el('p', { class: 'soft' }, rich(line))),
          found.fix ? [el('p', {}, rich(found.fix.text)), found.fix.actions.length ? command(typed('doctor --fix ' + found.check)) : null] : null] : null)
    }))
}

