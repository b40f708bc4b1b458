/* The page of the specification. It asks no other host: `validatorUrl` would. */
const root = document.documentElement;
const wished = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
root.classList.toggle("dark-mode", wished === "dark");

SwaggerUIBundle({
  url: document.querySelector("#docs").dataset.specification,
  dom_id: "#docs",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  tryItOutEnabled: true,
  validatorUrl: null,
});
