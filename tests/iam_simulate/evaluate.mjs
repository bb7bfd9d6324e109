// Decide requests by IAM policies: JSON on standard input, JSON on standard output. See tests/support/iam_evaluator.py.
import { readFileSync } from "node:fs";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const { account, principal, identityPolicies, resourcePolicies, requests } = JSON.parse(readFileSync(0, "utf8"));
const answers = [];
for (const { identity, resource: bucketPolicy, action, arn, context } of requests) {
  const found = await runSimulation(
    {
      request: { principal, action, resource: { resource: arn, accountId: account }, contextVariables: context },
      identityPolicies: [{ name: "identity", policy: identityPolicies[identity] }],
      ...(bucketPolicy === null ? {} : { resourcePolicy: resourcePolicies[bucketPolicy] }),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  const results = found.result ? [found.result] : (found.results ?? []);
  answers.push({
    result: found.overallResult ?? "Error",
    error: found.errors ? JSON.stringify(found.errors) : null,
    ignored: results.flatMap((each) => each.ignoredContextKeys),
  });
}
process.stdout.write(JSON.stringify(answers));
