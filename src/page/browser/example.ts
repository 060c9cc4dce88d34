/** What the button fills in: an ordinary RayCluster, with nothing about TLS or Pod Security in it. */
export const example = `apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: demo
  namespace: team
spec:
  rayVersion: 2.46.0
  headGroupSpec:
    rayStartParams: {}
    template:
      spec:
        containers:
          - name: ray-head
            image: rayproject/ray:2.46.0
            resources:
              limits: { cpu: "2", memory: 4Gi }
  workerGroupSpecs:
    - groupName: small
      replicas: 2
      rayStartParams: {}
      template:
        spec:
          containers:
            - name: ray-worker
              image: rayproject/ray:2.46.0
              resources:
                limits: { cpu: "1", memory: 2Gi }
`
