// Start Swagger UI on /docs. A file of its own, because the page's policy allows no scripts inside it.
"use strict";

(() => {
  const place = document.getElementById("swagger-ui");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const followColors = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  followColors();
  dark.addEventListener("change", followColors);

  const decoded = (path) => {
    try {
      return decodeURIComponent(path);
    } catch {
      return path;
    }
  };

  // PaddleHub's protocol decodes names twice, so that a "%" in one is written as "%2525"
  const leadsTo = (path, address) => [decoded(path), decoded(decoded(path))].includes(address);

  // "#module/NAME" names a module: the document knows under which operation it is asked. Swagger UI would read it as a link of its own.
  let wanted = "";
  const takeLink = () => {
    wanted = decoded((/^#module\/(.+)$/.exec(window.location.hash) || [])[1] || "");
    if (wanted) {
      window.history.replaceState(null, "", window.location.pathname + window.location.search);
    }
  };
  takeLink();

  const scrollTo = (address) => {
    for (const shown of document.querySelectorAll(".opblock-post .opblock-summary-path")) {
      if (leadsTo(shown.dataset.path, address)) {
        shown.closest(".opblock").scrollIntoView();
      }
    }
  };

  const showModule = () => {
    const paths = ui.specSelectors.specJson().get("paths");
    if (!wanted || !paths) {
      return;
    }
    for (const address of [`/predict/${wanted}`, `/v2/models/${wanted}/infer`]) {
      const operation = paths.find((_, path) => leadsTo(path, address))?.get("post");
      if (operation) {
        const tag = operation.getIn(["tags", 0], "default");
        ui.layoutActions.show(["operations-tag", tag], true);
        ui.layoutActions.show(["operations", tag, operation.get("operationId")], true);
        window.setTimeout(() => scrollTo(address), 0);
        return;
      }
    }
  };

  // A server with keys gives its document to their holders only. The key stays in the memory of this page.
  const form = document.getElementById("key");
  let key = "";

  const askForKey = (response) => {
    if (response.url?.includes(place.dataset.document) && response.status === 401) {
      form.hidden = false;
      form.querySelector("output").textContent = key ? response.obj?.msg || "" : "";
      form.elements.key.focus();
    }
    return response;
  };
  const readAgainWith = (given) => {
    key = given;
    ui.specActions.download(place.dataset.document);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    readAgainWith(form.elements.key.value.trim());
  });

  const useKey = () => {
    form.hidden = true;
    const schemes = ui.specSelectors.specJson().getIn(["components", "securitySchemes"]);
    if (key && schemes) {
      schemes.forEach((_, name) => ui.preauthorizeApiKey(name, key));
    }
  };
  // "Authorize" with another key shows what that one may see.
  const readAgain = (authorize) => (given) => {
    const [entered] = Object.values(given).map((each) => each?.value);
    const result = authorize(given);
    if (typeof entered === "string" && entered !== key) {
      readAgainWith(entered);
    }
    return result;
  };

  const ui = SwaggerUIBundle({
    url: place.dataset.document,
    domNode: place,
    deepLinking: true,
    displayRequestDuration: true,
    onComplete: () => {
      useKey();
      showModule();
    },
    plugins: [() => ({ statePlugins: { auth: { wrapActions: { authorize: readAgain } } } })],
    requestInterceptor: (request) => {
      if (request.loadSpec && key) {
        request.headers["X-API-Key"] = key;
      }
      return request;
    },
    responseInterceptor: askForKey,
    validatorUrl: null, // it would send the document to another server
  });
  window.addEventListener("hashchange", () => {
    takeLink();
    showModule();
  });
})();
