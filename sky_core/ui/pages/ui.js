// Without it the pages work all the same, and show how it was when they were opened.
const EVERY_MS = 5000;
let stopped = false;
const button = document.createElement("button");
button.type = "button";
const name = () => { button.textContent = stopped ? "Keep up to date" : "Stop updates"; };
button.onclick = () => { stopped = !stopped; name(); };
name();
document.querySelector("nav.top").append(button);
setInterval(async () => {
  const main = document.querySelector("main");
  // Never under somebody who reads, types, scrolls a table or has chosen text.
  const busy = main.contains(document.activeElement) || !document.getSelection().isCollapsed
    || [...main.querySelectorAll(".scroll, pre")].some((box) => box.scrollTop || box.scrollLeft)
    || main.querySelector("details[open]");
  if (stopped || document.hidden || busy) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  main.replaceChildren(...page.querySelector("main").childNodes);
}, EVERY_MS);
