"use strict";
// The page around the frame is Airflow's, of the same origin; alone there is none.
const around = window.parent === window ? null : window.parent.document;

function takeTheme() {
  const dark = around.documentElement.classList.contains("dark");
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

if (around) {
  takeTheme();
  new MutationObserver(takeTheme).observe(around.documentElement, { attributes: true });
  // The frame may open no window and not leave the frame; the page around it may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[target]");
    if (!link) return;
    event.preventDefault();
    const copy = around.createElement("a");
    copy.href = link.href;
    copy.target = event.ctrlKey || event.metaKey ? "_blank" : link.target;
    copy.rel = "noopener noreferrer";
    around.body.append(copy);
    copy.click();
    copy.remove();
  });
}

async function copyText(button) {
  const source = document.getElementById(button.dataset.copy);
  const text = source ? source.textContent : button.dataset.text;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https there is no clipboard in other hosts' pages.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("button[data-copy], button[data-text]")) {
    button.hidden = false;
    button.addEventListener("click", () => copyText(button));
  }
  const search = document.getElementById("search");
  if (!search) return;
  search.parentElement.hidden = false;
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const item of document.querySelectorAll("#tags li")) {
      item.hidden = !item.dataset.tag.toLowerCase().includes(wanted);
      shown += item.hidden ? 0 : 1;
    }
    document.getElementById("nothing").hidden = shown > 0;
  });
});
