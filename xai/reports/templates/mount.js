// Puts the viewer under an image that has maps, once it is asked for.
const markup = document.getElementById("viewer-markup")

function fill(host) {
  if (host.shadowRoot) return
  const root = host.attachShadow({ mode: "open" })
  root.append(markup.content.cloneNode(true))
  mount({ data: JSON.parse(host.nextElementSibling.textContent), parentElement: root })
}

for (const fold of document.querySelectorAll(".explore")) {
  fold.addEventListener("toggle", () => fold.open && fill(fold.querySelector(".viewer-host")))
}

// paper cannot be opened: print what is folded
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.explore, .figures, .python)")) fold.open = true
})
