"use strict";
for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input");
  const move = () => {
    slider.style.setProperty("--cut", input.value + "%");
    input.setAttribute("aria-valuetext", Math.round(input.value) + " % before");
  };
  input.addEventListener("input", move);
  move();
}
for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const large = button.closest("figure").classList.toggle("large");
    button.setAttribute("aria-expanded", String(large));
  });
}
