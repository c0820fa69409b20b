"use strict";
// The theme is set before anything is drawn; what a browser forbids on file:// is done without.
(() => {
  const root = document.documentElement;
  const key = "ferbench-theme";
  const remembered = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const remember = (theme) => {
    try {
      localStorage.setItem(key, theme);
    } catch {
      // The choice holds for this page.
    }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const first = remembered();
  if (first === "light" || first === "dark") root.dataset.theme = first;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const say = () => {
      const other = shown() === "dark" ? "light" : "dark";
      button.textContent = other === "dark" ? "Dark" : "Light";
      button.setAttribute("aria-label", `Change to ${other} colours`);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = shown() === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
      say();
    });
    dark.addEventListener("change", say);
    button.hidden = false;
    say();
  });
})();
