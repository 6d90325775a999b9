// What mdBook's pages lack for those who use a keyboard or a screen reader.
(() => {
  document.getElementById("mdbook-menu-bar")?.setAttribute("role", "banner");
  // a label for a box that nobody sees: no keyboard reaches it
  const label = document.getElementById("mdbook-sidebar-toggle");
  const box = document.getElementById("mdbook-sidebar-toggle-anchor");
  if (label && box) {
    const button = document.createElement("button");
    for (const name of ["id", "class", "title", "aria-label", "aria-controls"]) {
      if (label.hasAttribute(name)) button.setAttribute(name, label.getAttribute(name));
    }
    button.type = "button";
    button.append(...label.childNodes);
    button.addEventListener("click", () => box.click());
    const tell = () => button.setAttribute("aria-expanded", String(box.checked));
    box.addEventListener("change", tell);
    tell();
    label.replaceWith(button);
  }
  // what scrolls by itself is reached by the keyboard
  for (const wide of document.querySelectorAll(".table-wrapper, pre > code")) wide.tabIndex = 0;
  for (const head of document.querySelectorAll("main th")) {
    if (!head.textContent.trim()) head.replaceWith(document.createElement("td"));
  }
})();
