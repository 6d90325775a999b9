// --- beginning

window.addEventListener('hashchange', move)
document.addEventListener('visibilitychange', keepUp)
document.querySelector('.skip').addEventListener('click', event => { event.preventDefault(); $('main').focus() })
// an arrow key in the closed list changes its value: then it takes Enter to go there
const chooser = $('platforms')
let keyed = false
const go = () => { if (chooser.value !== platform()) location.assign('?platform=' + encodeURIComponent(chooser.value) + '#/') }
chooser.addEventListener('keydown', event => { keyed = event.key !== 'Enter'; if (!keyed) go() })
chooser.addEventListener('pointerdown', () => { keyed = false })
chooser.addEventListener('change', () => { if (!keyed) go() })
keepUp()
permission().then(() => route())
