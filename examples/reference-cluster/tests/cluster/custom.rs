//! A kind that is defined, used and taken away with kubectl.

use std::path::{Path, PathBuf};

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, steps, turn};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns: [{name: Color, type: string, jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the widget is to be.
            required: [color]
            properties:
              color: {type: string, enum: [red, green], description: How it is painted.}
              replicas: {type: integer, default: 1, minimum: 0}
            x-kubernetes-validations: [{rule: "self.color != 'green' || self.replicas < 3", message: too many green ones}]
          status: {type: object, properties: {replicas: {type: integer}}}
"#;

/// A policy that looks for what no widget has.
const POLICY: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: painted}
spec:
  matchConstraints:
    resourceRules:
    - {operations: [CREATE], apiGroups: [example.com], apiVersions: [v1], resources: [widgets]}
  validations:
  - expression: object.spec.replicas < 5
  - expression: object.spec.colour != 'red'
"#;

fn widget(color: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{color: {color}}}\n")
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("a test may write into its directory");
    file
}

#[tokio::test]
async fn a_kind_is_defined_explained_used_and_taken_away() {
    let _turn = turn();
    let Some(place) = Place::apart("custom kinds").await else { return };
    let data = data();
    let directory = data.path().to_str().expect("it is text");
    let up =
        Running::ready(&place, &["up", "--runtime", "simulated", "--data", directory, "--storage", "memory"])
            .await;
    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::nodes(&kubectl).await;

    let definition = write(data.path(), "definition.yaml", DEFINITION);
    let (red, blue) =
        (write(data.path(), "red.yaml", &widget("red")), write(data.path(), "blue.yaml", &widget("blue")));
    kubectl.run(&format!("create -f {}", definition.display())).await;
    kubectl.run("wait --for=condition=Established crd/widgets.example.com --timeout=10s").await;
    kubectl.run(&format!("create -f {}", red.display())).await;
    kubectl.until("get wd", &["NAME", "COLOR", "one", "red"]).await;
    kubectl.until("get all", &["widget.example.com/one"]).await;
    kubectl.until("explain widgets.spec.color", &["color <string>", "How it is painted."]).await;
    kubectl.until("explain widgets --recursive", &["replicas", "metadata", "labels"]).await;
    kubectl.until("api-resources --api-group=example.com", &["widgets", "wd", "Widget"]).await;

    let policy = write(data.path(), "policy.yaml", POLICY);
    kubectl.run(&format!("create -f {}", policy.display())).await;
    let told = [
        "fieldRef: spec.validations[1].expression",
        "example.com/v1, Kind=Widget: ERROR: <input>:1:12: undefined field 'colour'",
    ];
    let shown = kubectl.until("get validatingadmissionpolicy painted -o yaml", &told).await;
    assert!(
        shown.contains("observedGeneration: 1") && !shown.contains("validations[0].expression"),
        "{shown}"
    );

    let refused = kubectl.attempt(&format!("apply -f {}", blue.display())).await;
    assert!(refused.stderr.contains("supported values: \"red\", \"green\""), "{}", refused.stderr);
    kubectl.run(&format!("apply -f {}", red.display())).await;
    kubectl.run("scale widget one --replicas=4").await;
    assert_eq!(kubectl.json("widget one").await["spec"]["replicas"], 4);
    let refused =
        kubectl.attempt("patch widget one --type=merge --patch {\"spec\":{\"color\":\"green\"}}").await;
    assert!(refused.stderr.contains("too many green ones"), "{}", refused.stderr);

    kubectl.run("delete crd widgets.example.com").await;
    let gone = kubectl.attempt("get widgets").await;
    assert!(!gone.success, "{}", gone.stdout);
    up.stop(&place).await;
}
