export interface Snippet {
  id: "curl" | "github" | "gitlab";
  name: string;
  code: string;
}

/** How other programs start a deployment of `service` with its token; `origin` is this fastDeploy's own address. */
export function deploySnippets(origin: string): Snippet[] {
  const request = `curl --fail --silent --show-error --request POST ${origin}/deployments/`;
  const authorization = (token: string) => `--header "Authorization: Bearer ${token}"`;
  return [
    { id: "curl", name: "curl", code: `${request} \\\n  ${authorization("$FASTDEPLOY_TOKEN")}` },
    {
      id: "github",
      name: "GitHub Actions",
      code: [
        "- name: Deploy",
        "  env:",
        "    FASTDEPLOY_TOKEN: ${{ secrets.FASTDEPLOY_TOKEN }}",
        "  run: |",
        `    ${request} \\`,
        `      ${authorization("$FASTDEPLOY_TOKEN")}`,
      ].join("\n"),
    },
    {
      id: "gitlab",
      name: "GitLab CI",
      code: [
        "deploy:",
        "  stage: deploy",
        "  script:",
        "    - >-",
        `      ${request}`,
        `      ${authorization("$FASTDEPLOY_TOKEN")}`,
      ].join("\n"),
    },
  ];
}
