# Golden values of the fuzzy graph, from umap-learn 0.5.12 (pip install umap-learn); run in the top folder.
import numpy as np, json, umap
from umap.umap_ import smooth_knn_dist, fuzzy_simplicial_set, find_ab_params
rng=np.random.default_rng(7)
# 36 points in three groups, written with 3 decimals so that the golden file is exact
c=np.array([[0,0,0,0],[3,0,1,0],[0,4,0,2.]])
X=np.round(np.concatenate([c[i]+0.7*rng.standard_normal((12,4)) for i in range(3)]),3)
D=np.sqrt(((X[:,None]-X[None])**2).sum(-1))
idx=np.argsort(D,axis=1,kind='stable')[:,:15]; dist=np.take_along_axis(D,idx,1)
sig,rho=smooth_knn_dist(dist.astype(np.float32),15.0,local_connectivity=1.0)
G,_,_=fuzzy_simplicial_set(X.astype(np.float32),15,np.random.RandomState(0),'euclidean',knn_indices=idx,knn_dists=dist.astype(np.float32))
G=G.toarray()
json.dump({"points":X.tolist(),"sigma":sig.tolist(),"rho":rho.tolist(),"graph":[[i,j,float(G[i,j])] for i in range(36) for j in range(36) if G[i,j]>0]},open('crates/losses/tests/golden/umap.json','w'))
